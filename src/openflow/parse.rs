//! Reading the flow syntax of `ovs-ofctl(8)`.
