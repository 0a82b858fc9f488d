//! Who may open KVM's device, and what to do for those who may not.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// The commands that permit the user to open `path`.
pub fn how_to_permit(path: &Path) -> String {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let owner = fs::metadata(path).ok().map(|device| (device.gid(), device.mode()));
    advice(path, owner, &groups)
}

/// The same from plain values: the device's group and mode, and the text of `/etc/group`.
fn advice(path: &Path, owner: Option<(u32, u32)>, groups: &str) -> String {
    const GROUP_READ_WRITE: u32 = 0o060;
    let path = path.display();
    let now = format!("for now, run `sudo setfacl -m u:$USER:rw {path}`");
    let group = owner.filter(|(_, mode)| mode & GROUP_READ_WRITE == GROUP_READ_WRITE);
    match group.and_then(|(gid, _)| group_name(groups, gid)) {
        Some(name) => {
            format!("run `sudo usermod -aG {name} $USER` and log in again ({now})")
        }
        None => format!(
            "{now}; for good, run `echo 'KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0660\"' | \
             sudo tee /etc/udev/rules.d/65-kvm.rules && sudo udevadm control --reload && \
             sudo udevadm trigger --name-match=kvm`, then `sudo usermod -aG kvm $USER`, \
             and log in again"
        ),
    }
}

fn group_name(groups: &str, gid: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\nkvm:x:104:alice\nbroken line\nusers:x:100:\n";

    #[test]
    fn a_group_that_may_is_named() {
        let advice = advice(Path::new("/dev/kvm"), Some((104, 0o20660)), GROUPS);
        assert!(advice.starts_with("run `sudo usermod -aG kvm $USER` and log in again"));
        assert!(advice.contains("setfacl -m u:$USER:rw /dev/kvm"));
    }

    #[test]
    fn without_such_a_group_there_is_setfacl_now_and_udev_for_good() {
        for owner in [Some((0, 0o20600)), Some((999, 0o20660)), None] {
            let advice = advice(Path::new("/dev/kvm"), owner, GROUPS);
            assert!(advice.starts_with("for now, run `sudo setfacl -m u:$USER:rw /dev/kvm`"));
            assert!(advice.contains("/etc/udev/rules.d/"));
        }
    }
}
