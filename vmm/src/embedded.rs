//! What the binary brings along: the guest's images and the scenarios, put here by `build.rs`.

use machine::Architecture;

/// Images by their names.
type Images = &'static [(&'static str, &'static [u8])];

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The images for this architecture.
pub fn images(architecture: Architecture) -> Images {
    let found = IMAGES.iter().find(|(known, _)| *known == architecture.name());
    found.map_or(&[], |(_, images)| images)
}

/// The image of that name.
pub fn image(architecture: Architecture, name: &str) -> Option<&'static [u8]> {
    images(architecture).iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}
