//! Values of fields: numbers, addresses, ports, flags.

use super::error::{Allowed, ParseError};
use super::token::Token;
use crate::flow::Field;
use crate::flow::fields::{FieldInfo, Format};
use crate::flow::format::{FRAGMENT_NAMES, TCP_FLAG_NAMES};
use crate::openflow::ports::{PortNames, parse_port};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A number: decimal, or hexadecimal after `0x`. A leading zero is refused, because other tools read octal there.
pub(super) fn number(text: &str) -> Option<u128> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        return if is_hex { u128::from_str_radix(digits, 16).ok() } else { None };
    }
    let is_decimal =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if is_decimal { text.parse().ok() } else { None }
}

/// A number from 0 to `max`, which fits a `T`.
pub(super) fn bounded<T: TryFrom<u128>>(value: Token<'_>, keyword: &str, max: u128) -> Result<T, ParseError> {
    let number = number(value.text).filter(|&number| number <= max);
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| value.bad_value(keyword, Allowed::Number(max)))
}

/// A MAC address as a number. Digits may be one or two between colons.
pub(super) fn mac(text: &str) -> Option<u128> {
    let mut address = 0;
    let mut count = 0;
    for part in text.split(':') {
        if part.is_empty() || part.len() > 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        address = (address << 8) | u128::from_str_radix(part, 16).ok()?;
        count += 1;
        if count > 6 {
            return None;
        }
    }
    (count == 6).then_some(address)
}

pub(super) fn ipv4(text: &str) -> Option<u128> {
    text.parse::<Ipv4Addr>().ok().map(|address| u32::from(address).into())
}

pub(super) fn ipv6(text: &str) -> Option<u128> {
    text.parse::<Ipv6Addr>().ok().map(u128::from)
}

/// The mask that `text` says for an address of `bits` bits: a prefix length, or an address by `parse`.
fn address_mask(text: &str, bits: u32, parse: fn(&str) -> Option<u128>) -> Option<u128> {
    let full = u128::MAX >> (128 - bits);
    match number(text) {
        Some(len) if len <= u128::from(bits) => Some(full & !full.checked_shr(len as u32).unwrap_or(0)),
        Some(_) => None,
        None => parse(text),
    }
}

/// The value and mask of a field of the form `info` says; `*` has mask 0. The value may have bits outside the
/// mask: they are the caller's to refuse or to clear.
pub(super) fn masked(
    token: Token<'_>,
    keyword: &str,
    info: &FieldInfo,
    ports: &dyn PortNames,
) -> Result<(u128, u128), ParseError> {
    let full = info.field.full_mask();
    if token.text == "*" {
        return Ok((0, 0));
    }
    let allowed = allowed(info);
    if let Format::TcpFlags = info.format
        && let Some(flags) = tcp_flags(token.text)
    {
        return Ok(flags);
    }
    if info.field == Field::TunFlags
        && let Some(flags) = tunnel_flags(token.text)
    {
        return Ok(flags);
    }
    if let Some(&(_, value, mask)) = FRAGMENT_NAMES.iter().find(|row| row.0 == token.text)
        && info.format == Format::Frag
    {
        return Ok((value.into(), mask.into()));
    }
    // A quoted port name may hold a slash; ports take no mask.
    let (value, mask) = match token.split_once("/") {
        Some((value, mask)) if info.format != Format::OfPort => (value, Some(mask)),
        _ => (token, None),
    };
    if let Some(mask) = mask
        && !info.maskable
    {
        let (keyword, found) = (keyword.to_owned(), mask.text.to_owned());
        return Err(ParseError::MaskNotAllowed { offset: mask.offset, keyword, found });
    }
    let parse = |text: &str| match info.format {
        Format::Ethernet => mac(text),
        Format::Ipv4 => ipv4(text),
        Format::Ipv6 => ipv6(text),
        Format::OfPort => parse_port(text, ports).map(|port| port.0.into()),
        Format::Decimal | Format::Hexadecimal | Format::Frag | Format::TcpFlags => number(text),
    };
    let parse_mask = |text: &str| match info.format {
        Format::Ipv4 => address_mask(text, 32, ipv4),
        Format::Ipv6 => address_mask(text, 128, ipv6),
        _ => parse(text),
    };
    let fits = |number: Option<u128>| number.filter(|number| number & !full == 0);
    let value_number = fits(parse(value.text)).ok_or_else(|| value.bad_value(keyword, allowed))?;
    let mask_number = match mask {
        None => full,
        Some(mask) => fits(parse_mask(mask.text)).ok_or_else(|| mask.bad_value(keyword, allowed))?,
    };
    Ok((value_number, mask_number))
}

/// The one flag that encapsulations have, by name, with a sign or as the number that it alone makes. None for anything
/// else.
fn tunnel_flags(text: &str) -> Option<(u128, u128)> {
    match text {
        "oam" | "+oam" | "1" => Some((1, 1)),
        "-oam" | "0" => Some((0, 1)),
        _ => None,
    }
}

/// What a field's value may be.
pub(super) fn allowed(info: &FieldInfo) -> Allowed {
    match info.format {
        _ if info.field == Field::TunFlags => Allowed::TunnelFlags,
        Format::Decimal | Format::Hexadecimal if info.maskable => {
            Allowed::MaskedNumber(info.field.full_mask())
        }
        Format::Decimal | Format::Hexadecimal => Allowed::Number(info.field.full_mask()),
        Format::Ethernet => Allowed::Mac,
        Format::Ipv4 => Allowed::Ipv4,
        Format::Ipv6 => Allowed::Ipv6,
        Format::OfPort => Allowed::Port,
        Format::Frag => Allowed::Fragment,
        Format::TcpFlags => Allowed::TcpFlags,
    }
}

/// Flags by name: `+syn-ack` looks at those named, `syn|ack` at all of them. None for anything else, as a number.
fn tcp_flags(text: &str) -> Option<(u128, u128)> {
    let bit =
        |name: &str| TCP_FLAG_NAMES.iter().position(|&flag| flag == name).map(|position| 1_u128 << position);
    if !text.starts_with(['+', '-']) {
        let mut value = 0;
        for name in text.split('|') {
            value |= bit(name)?;
        }
        return Some((value, 0xfff));
    }
    let (mut value, mut mask, mut rest) = (0, 0, text);
    while let Some(sign) = rest.chars().next() {
        let name = &rest[1..];
        let len = name.find(['+', '-']).unwrap_or(name.len());
        let flag = bit(&name[..len])?;
        if mask & flag != 0 {
            return None;
        }
        mask |= flag;
        value |= if sign == '+' { flag } else { 0 };
        rest = &name[len..];
    }
    Some((value, mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openflow::ports::NoNames;

    fn read(field: Field, text: &str) -> Option<(u128, u128)> {
        masked(Token::whole(text), "key", field.info(), &NoNames).ok()
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal_and_never_octal() {
        assert_eq!((number("0"), number("65535"), number("0xFf")), (Some(0), Some(65535), Some(255)));
        for text in ["", "010", "00", "-1", "+1", "0x", "0x+1", "1_0", "0xg", "1 ", "٣"] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(number("0xffffffffffffffffffffffffffffffff"), Some(u128::MAX));
        assert_eq!(number("340282366920938463463374607431768211456"), None);
    }

    #[test]
    fn address_masks_are_prefixes_or_any_bits() {
        assert_eq!(read(Field::Ipv4Src, "10.1.2.3/8"), Some((0x0a01_0203, 0xff00_0000)));
        assert_eq!(read(Field::Ipv4Src, "10.1.2.3/255.0.0.255"), Some((0x0a01_0203, 0xff00_00ff)));
        assert_eq!(read(Field::Ipv4Src, "10.1.2.3/0"), Some((0x0a01_0203, 0)));
        assert_eq!(read(Field::Ipv4Src, "10.1.2.3"), read(Field::Ipv4Src, "10.1.2.3/32"));
        assert_eq!(read(Field::Ipv4Src, "10.1.2.3/33"), None);
        assert_eq!(read(Field::Ipv6Src, "::1/128"), Some((1, u128::MAX)));
        assert_eq!(read(Field::Ipv6Src, "::1/0"), Some((1, 0)));
        assert_eq!(read(Field::Ipv6Src, "::1/::3"), Some((1, 3)));
        assert_eq!(read(Field::Ipv6Src, "::1/129"), None);
    }

    #[test]
    fn tcp_flags_are_names_or_numbers() {
        assert_eq!(read(Field::TcpFlags, "+syn-ack"), Some((0x02, 0x12)));
        assert_eq!(read(Field::TcpFlags, "syn|ack"), Some((0x12, 0xfff)));
        assert_eq!(read(Field::TcpFlags, "0x12/0x13"), Some((0x12, 0x13)));
        assert_eq!(read(Field::TcpFlags, "-fin+[800]"), Some((0x800, 0x801)));
        for text in ["+syn+syn", "+", "+syn-", "syn|", "+é", "0x1000", "xyz"] {
            assert_eq!(read(Field::TcpFlags, text), None, "{text}");
        }
    }

    #[test]
    fn the_flag_of_a_tunnel_goes_by_name_or_number() {
        for (text, expected) in
            [("oam", (1, 1)), ("+oam", (1, 1)), ("-oam", (0, 1)), ("1", (1, 1)), ("0", (0, 1))]
        {
            assert_eq!(read(Field::TunFlags, text), Some(expected), "{text}");
        }
        assert_eq!(read(Field::TunFlags, "0x3/0x3"), Some((3, 3)));
        assert_eq!(read(Field::TunFlags, "+key"), None);
    }

    #[test]
    fn macs_have_six_parts() {
        assert_eq!(mac("0:1:2:aa:BB:cc"), Some(0x0001_02aa_bbcc));
        for text in
            ["", "1:2:3:4:5", "1:2:3:4:5:6:7", "1:2:3:4:5:123", "1:2:3:4:5:", "g:1:2:3:4:5", "+1:2:3:4:5:6"]
        {
            assert_eq!(mac(text), None, "{text}");
        }
    }

    #[test]
    fn a_mask_where_none_is_taken_is_named() {
        let error = masked(Token::whole("6/0xf"), "nw_proto", Field::IpProto.info(), &NoNames).unwrap_err();
        assert_eq!(error.to_string(), "byte 2: `nw_proto` takes no mask; leave out `/0xf`");
    }
}
