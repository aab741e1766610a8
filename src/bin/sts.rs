//! The client's program, a drop-in for StackState's command line client.

fn main() {}
