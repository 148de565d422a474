//! What a packet says: keys, masks, the table of matchable fields, and extraction.
//!
//! [`FlowKey`] holds what the datapath can know of a packet; [`Flow`] adds what only an OpenFlow pipeline
//! knows (its own port number, metadata, registers). Both are plain words, so that hashing, masking and
//! comparing are loops over `u64` that never look at a field; [`fields`] is the one table that gives those
//! words their names, for codecs, printing, masks and tests.
//!
//! Numbers are in host byte order, addresses of more than four bytes in wire order: the key is never sent.

pub mod extract;
pub mod fields;
pub mod format;
pub mod hash;
mod key;
pub mod mask;

pub use fields::{Field, Prerequisite};
pub use key::{
    DpPort, ETH_TYPE_NONE, FLOW_KEY_WORDS, FLOW_WORDS, Flow, FlowKey, NW_FRAG_ANY, NW_FRAG_LATER, OfPort,
    PBB_UCA, VLAN_CFI,
};
pub use mask::FlowMask;
