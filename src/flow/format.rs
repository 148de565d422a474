//! Values of fields as people read them.
//!
//! One place for OpenFlow's syntax and for the datapath's dumps: decimal, `printf("%#x")`-like hexadecimal (zero
//! has no prefix), addresses, and masks as prefix lengths where they are. Ports come as numbers here: who knows
//! their names writes them instead. Pure functions, callable from any thread.

use super::fields::{Field, Format};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The value of `field`, followed by `/mask` unless the mask is all of the field. The bits of both are placed as
/// [`Flow::get`](super::Flow::get) returns them.
pub fn format_field_value(field: Field, value: u128, mask: u128) -> String {
    let info = field.info();
    let one = |number: u128| match info.format {
        Format::Decimal | Format::OfPort => number.to_string(),
        Format::Ethernet => format_mac(number),
        Format::Ipv4 => Ipv4Addr::from(number as u32).to_string(),
        Format::Ipv6 => Ipv6Addr::from(number).to_string(),
        Format::Hexadecimal | Format::Frag | Format::TcpFlags => format_hexadecimal(number),
    };
    if mask == field.full_mask() {
        return one(value);
    }
    let mask_text = match info.format {
        Format::Ipv4 | Format::Ipv6 => match prefix_len(mask, info.bits) {
            Some(len) => len.to_string(),
            None => one(mask),
        },
        Format::Ethernet => one(mask),
        _ => format_hexadecimal(mask),
    };
    format!("{}/{mask_text}", one(value))
}

/// A number as `printf("%#x")` writes it.
pub fn format_hexadecimal(value: u128) -> String {
    if value == 0 { "0".to_owned() } else { format!("{value:#x}") }
}

/// The MAC address in the low 48 bits.
pub fn format_mac(address: u128) -> String {
    let [.., a, b, c, d, e, f] = address.to_be_bytes();
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// How many leading bits of `bits` the mask has, if it has no others.
fn prefix_len(mask: u128, bits: u16) -> Option<u32> {
    let len = (mask << (128 - u32::from(bits))).leading_ones();
    (mask.count_ones() == len).then_some(len)
}

/// The names of the TCP flag bits, from the least significant. Those that RFC 9293 keeps in reserve go by their
/// number.
pub const TCP_FLAG_NAMES: [&str; 12] =
    ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"];

/// TCP flags: those set, as `syn|ack`, if the mask is all twelve; else those looked at, as `+syn-ack`.
pub fn format_tcp_flags(value: u128, mask: u128) -> String {
    let is_set = |bits: u128, bit: usize| bits >> bit & 1 != 0;
    if mask == Field::TcpFlags.full_mask() {
        let set: Vec<_> = (0..12).filter(|&bit| is_set(value, bit)).map(|bit| TCP_FLAG_NAMES[bit]).collect();
        return if set.is_empty() { "0".to_owned() } else { set.join("|") };
    }
    let looked_at = (0..12).filter(|&bit| is_set(mask, bit));
    looked_at.map(|bit| [if is_set(value, bit) { "+" } else { "-" }, TCP_FLAG_NAMES[bit]].concat()).collect()
}

/// The kinds of fragments, each with a value and a mask of the bits of `ip_frag` ([`NW_FRAG_ANY`](super::NW_FRAG_ANY)
/// and [`NW_FRAG_LATER`](super::NW_FRAG_LATER)).
pub const FRAGMENT_NAMES: [(&str, u8, u8); 5] =
    [("no", 0, 3), ("yes", 1, 1), ("first", 1, 3), ("later", 3, 3), ("not_later", 0, 2)];

/// The kind of fragments that a value and a mask of `ip_frag` mean, or the two as numbers.
pub fn format_fragment(value: u128, mask: u128) -> String {
    let row = FRAGMENT_NAMES.iter().find(|row| (row.1.into(), row.2.into()) == (value, mask));
    row.map_or_else(|| format!("{value:#x}/{mask:#x}"), |row| row.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{NW_FRAG_ANY, NW_FRAG_LATER};

    #[test]
    fn masks_of_addresses_are_prefixes_where_they_can_be() {
        let text = |mask| format_field_value(Field::Ipv4Src, 0x0a00_0000, mask);
        assert_eq!(text(0xffff_ffff), "10.0.0.0");
        assert_eq!(text(0xff00_0000), "10.0.0.0/8");
        assert_eq!(text(0xff00_0001), "10.0.0.0/255.0.0.1");
        assert_eq!(format_field_value(Field::Ipv6Src, 1, u128::MAX), "::1");
        assert_eq!(format_field_value(Field::Ipv6Src, 1, 1), "::1/::1");
        assert_eq!(
            format_field_value(Field::EthSrc, 1 << 40, 1 << 40),
            "01:00:00:00:00:00/01:00:00:00:00:00"
        );
    }

    #[test]
    fn tcp_flags_are_listed_in_the_order_of_their_bits() {
        assert_eq!(format_tcp_flags(0x812, 0xfff), "syn|ack|[800]");
        assert_eq!(format_tcp_flags(0, 0xfff), "0");
        assert_eq!(format_tcp_flags(0x812, 0xa13), "-fin+syn+ack-[200]+[800]");
    }

    #[test]
    fn fragments_have_a_name_for_each_mask_that_makes_sense() {
        let (any, both) = (u128::from(NW_FRAG_ANY), u128::from(NW_FRAG_ANY | NW_FRAG_LATER));
        assert_eq!(format_fragment(0, both), "no");
        assert_eq!(format_fragment(any, any), "yes");
        assert_eq!(format_fragment(any, both), "first");
        assert_eq!(format_fragment(both, both), "later");
        assert_eq!(format_fragment(0, NW_FRAG_LATER.into()), "not_later");
        assert_eq!(format_fragment(0, any), "0x0/0x1");
    }
}
