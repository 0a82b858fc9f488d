//! Links sigma0.
fn main() {
    linking::sigma0();
}
