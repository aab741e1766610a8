//! Service tokens in, permitted routes out.

// values
pub mod time;
pub mod token;
