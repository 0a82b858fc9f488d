//! Tasks that a program makes of itself, to see what becomes of them.
//!
//! | module | what it knows |
//! |---|---|
//! | [`child`] | a task with threads that run this program's functions |
//! | [`house`] | the program itself: what it has, and what it hears of its children |
//! | [`quota`] | how much kernel memory is left |
#![no_std]
#![forbid(unsafe_code)]

pub mod child;
pub mod house;
pub mod quota;
