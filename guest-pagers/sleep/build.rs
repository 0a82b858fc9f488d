//! Links the program to its place.

fn main() {
    linking::program();
}
