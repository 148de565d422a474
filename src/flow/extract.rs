//! From packet to key.
