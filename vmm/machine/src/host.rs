//! What the host says about itself, in files.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What KVM stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Intel's virtualisation.
    Vmx,
    /// AMD's virtualisation.
    Svm,
    /// This kernel module, without help of the processor.
    Software(String),
    /// Nothing that is known.
    Unknown,
}

/// How KVM gets from guest-physical addresses to the host's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondLevel {
    /// Nested page tables of AMD's: the processor walks them behind the guest's own.
    Npt,
    /// Extended page tables, the same of Intel's.
    Ept,
    /// Shadow page tables: KVM makes one dimension out of two, and the processor walks only that.
    Shadow,
}

/// Huge pages of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// Whether anonymous memory gets them: `always`, `madvise` or `never`.
    pub transparent: Option<String>,
    /// Whether shared memory gets them, which guest RAM is.
    pub shared: Option<String>,
    /// Reserved 2 MiB pages.
    pub reserved: u64,
    /// Those of them that nobody uses.
    pub free: u64,
}

/// The files of a host.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// This host.
    pub fn here() -> Self {
        Self::at(Path::new("/"))
    }

    fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// What KVM stands on.
    pub fn backend(&self) -> Backend {
        let module = |name: &str| self.path("sys/module").join(name).exists();
        let flags = self.processor("flags").unwrap_or_default();
        let flag = |name: &str| flags.split_whitespace().any(|flag| flag == name);
        match () {
            () if module("kvm_intel") && flag("vmx") => Backend::Vmx,
            () if module("kvm_amd") && flag("svm") => Backend::Svm,
            () if module("kvm_pvm") => Backend::Software("kvm_pvm".to_owned()),
            () => Backend::Unknown,
        }
    }

    /// What KVM's own page tables are.
    pub fn second_level(&self) -> Option<SecondLevel> {
        let is_on = |parameter: &str| match self.read(parameter)?.trim() {
            "Y" | "1" => Some(true),
            "N" | "0" => Some(false),
            _ => None,
        };
        let (nested, parameter) = match self.backend() {
            Backend::Svm => (SecondLevel::Npt, "sys/module/kvm_amd/parameters/npt"),
            Backend::Vmx => (SecondLevel::Ept, "sys/module/kvm_intel/parameters/ept"),
            // Without help of the processor there is but one dimension.
            Backend::Software(_) => return Some(SecondLevel::Shadow),
            Backend::Unknown => return None,
        };
        Some(if is_on(parameter)? { nested } else { SecondLevel::Shadow })
    }

    /// Whether the host is itself a virtual machine.
    pub fn is_virtual(&self) -> bool {
        let flags = self.processor("flags").unwrap_or_default();
        flags.split_whitespace().any(|flag| flag == "hypervisor")
    }

    /// The processor's model.
    pub fn processor_model(&self) -> Option<String> {
        self.processor("model name")
    }

    /// How many processors there are.
    pub fn processors(&self) -> usize {
        let info = self.read("proc/cpuinfo").unwrap_or_default();
        info.lines().filter(|line| value(line, "processor").is_some()).count()
    }

    /// Bytes of memory that programs can get.
    pub fn memory_available(&self) -> Option<u64> {
        self.memory("MemAvailable")
    }

    /// Bytes of memory in all.
    pub fn memory_total(&self) -> Option<u64> {
        self.memory("MemTotal")
    }

    /// Huge pages.
    pub fn huge_pages(&self) -> HugePages {
        let setting = |name: &str| {
            let text = self.read(&format!("sys/kernel/mm/transparent_hugepage/{name}"))?;
            let (_, rest) = text.split_once('[')?;
            rest.split_once(']').map(|(chosen, _)| chosen.to_owned())
        };
        let pages = |name: &str| {
            let text = self.read(&format!("sys/kernel/mm/hugepages/hugepages-2048kB/{name}"));
            text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        };
        HugePages {
            transparent: setting("enabled"),
            shared: setting("shmem_enabled"),
            reserved: pages("nr_hugepages"),
            free: pages("free_hugepages"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    /// A line of the first processor's description.
    fn processor(&self, key: &str) -> Option<String> {
        let info = self.read("proc/cpuinfo")?;
        info.lines().find_map(|line| value(line, key)).map(str::to_owned)
    }

    fn memory(&self, key: &str) -> Option<u64> {
        let info = self.read("proc/meminfo")?;
        let text = info.lines().find_map(|line| value(line, key))?;
        text.strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    }
}

/// The value of a `key : value` line.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = line.split_once(':')?;
    (name.trim() == key).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, process};

    /// A host made of files, removed at the end.
    struct Made(PathBuf);

    impl Made {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = env::temp_dir().join(format!("glass-host-{name}-{}", process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn host(&self) -> Host {
            Host::at(&self.0)
        }
    }

    impl Drop for Made {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const CPU: &str = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu vmx hypervisor\n\n\
                       processor\t: 1\nmodel name\t: Some CPU\nflags\t\t: fpu vmx hypervisor\n";

    #[test]
    fn hardware_counts_only_with_its_module() {
        let loaded = ("sys/module/kvm_intel/refcnt", "0");
        let intel = Made::new("intel", &[("proc/cpuinfo", CPU), loaded]);
        assert_eq!(intel.host().backend(), Backend::Vmx);
        let without = Made::new("without", &[("proc/cpuinfo", CPU)]);
        assert_eq!(without.host().backend(), Backend::Unknown);
        let software = ("sys/module/kvm_pvm/refcnt", "0");
        let software = Made::new("software", &[("proc/cpuinfo", CPU), software]);
        assert_eq!(software.host().backend(), Backend::Software("kvm_pvm".to_owned()));
    }

    #[test]
    fn the_second_level_is_what_the_module_says() {
        let svm = "processor\t: 0\nflags\t\t: fpu svm\n";
        let amd = |name, npt| {
            let files = [("proc/cpuinfo", svm), ("sys/module/kvm_amd/parameters/npt", npt)];
            Made::new(name, &files).host().second_level()
        };
        assert_eq!(amd("npt", "Y\n"), Some(SecondLevel::Npt));
        assert_eq!(amd("no-npt", "N\n"), Some(SecondLevel::Shadow));
        assert_eq!(amd("odd-npt", ""), None);
        let ept = ("sys/module/kvm_intel/parameters/ept", "1\n");
        let intel = Made::new("ept", &[("proc/cpuinfo", CPU), ept]);
        assert_eq!(intel.host().second_level(), Some(SecondLevel::Ept));
        let pvm = ("sys/module/kvm_pvm/refcnt", "0");
        let pvm = Made::new("pvm", &[("proc/cpuinfo", CPU), pvm]);
        assert_eq!(pvm.host().second_level(), Some(SecondLevel::Shadow));
        let nothing = Made::new("no-kvm", &[("proc/cpuinfo", CPU)]);
        assert_eq!(nothing.host().second_level(), None);
    }

    #[test]
    fn processors_and_memory_are_read() {
        let memory = ("proc/meminfo", "MemTotal:  2048 kB\nMemAvailable:  1024 kB\n");
        let made = Made::new("numbers", &[("proc/cpuinfo", CPU), memory]);
        let host = made.host();
        assert_eq!((host.processors(), host.is_virtual()), (2, true));
        assert_eq!(host.processor_model().as_deref(), Some("Some CPU"));
        assert_eq!((host.memory_total(), host.memory_available()), (Some(2 << 20), Some(1 << 20)));
    }

    #[test]
    fn huge_page_settings_are_the_bracketed_ones() {
        let made = Made::new(
            "huge",
            &[
                ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
                ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8\n"),
                ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n"),
            ],
        );
        let pages = made.host().huge_pages();
        assert_eq!(pages.transparent.as_deref(), Some("madvise"));
        assert_eq!((pages.shared, pages.reserved, pages.free), (None, 8, 3));
    }
}
