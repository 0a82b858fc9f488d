//! Links the root task.
fn main() {
    linking::root_task();
}
