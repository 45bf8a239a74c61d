//! What runs by itself, over a long time.

mod year;
