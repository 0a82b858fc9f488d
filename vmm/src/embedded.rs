//! What the binary brings along: the guest's images and the scenarios, put here by `build.rs`.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The image of that name.
pub fn image(name: &str) -> Option<&'static [u8]> {
    IMAGES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}
