//! What the documentation shows is what is built.

/// The first block of Rust code in `docs/write-your-own-pager.md`.
#[test]
fn the_documented_pager_is_the_one_that_is_built() {
    let page = include_str!("../../../docs/write-your-own-pager.md");
    let (_, rest) = page.split_once("```rust\n").expect("the page has a block of code");
    let (code, _) = rest.split_once("```").expect("the block ends");
    let source = include_str!("../../lazy-squares/src/main.rs");
    assert_eq!(code, source);
    assert!(source.lines().count() <= 40, "it is said to have at most 40 lines");
}
