//! The datapath oracle.
