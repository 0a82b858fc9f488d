//! Links an ordinary program.
fn main() {
    linking::program();
}
