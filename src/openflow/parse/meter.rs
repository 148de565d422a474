//! Meters, as `add-meter` and its like take them (`ovs-ofctl(8)`, "Meter Syntax"). Besides `drop` there is
//! `dscp_remark`, which Open vSwitch lacks, with `prec_level`.

use super::action::numbered_meter;
use super::error::{Allowed, ParseError};
use super::token::{Item, Items, Token};
use super::value;
use crate::openflow::meter::{Band, BandType, METER_ALL, MeterMod, MeterModCommand};

/// What a meter is made of, for the complaint about anything else.
const KEYWORDS: &str = "meter, kbps, pktps, burst, stats and bands";
/// What a band is made of.
const BAND_KEYWORDS: &str = "type, rate, burst_size and prec_level";

/// Reads a meter-mod as `ovs-ofctl` takes it for `command`. To delete, no meter at all means all of them.
///
/// # Errors
/// The first fault found.
pub fn parse_meter_mod(text: &str, command: MeterModCommand) -> Result<MeterMod, ParseError> {
    let (head, bands) = split_bands(Token::whole(text))?;
    let is_delete = command == MeterModCommand::Delete;
    let here = match command {
        MeterModCommand::Delete => "when meters are deleted",
        MeterModCommand::Add | MeterModCommand::Modify => "beside the other unit",
    };
    let (mut meter, mut unit) = (None, None);
    let (mut burst, mut stats) = (false, false);
    let mut seen = Vec::new();
    let mut items = Items::of(head);
    while let Some(item) = items.next()? {
        let (offset, keyword) = (item.key.offset, item.name());
        let is_flag = matches!(item.key.text, "kbps" | "pktps" | "burst" | "stats");
        if !is_flag && item.key.text != "meter" {
            return Err(ParseError::UnknownWord { offset, found: keyword, known: KEYWORDS });
        }
        if is_delete && is_flag {
            return Err(ParseError::KeywordNotAllowed { offset, keyword, here });
        }
        if seen.contains(&item.key.text) {
            return Err(ParseError::Duplicate { offset, keyword });
        }
        seen.push(item.key.text);
        if is_flag {
            item.expect_bare()?;
        }
        match item.key.text {
            "meter" => meter = Some(meter_number(&item, is_delete)?),
            "burst" => burst = true,
            "stats" => stats = true,
            _ if unit.is_some() => return Err(ParseError::KeywordNotAllowed { offset, keyword, here }),
            name => unit = Some(name == "kbps"),
        }
    }
    let missing = |what, remedy| ParseError::Missing { offset: text.len(), what, remedy };
    if is_delete {
        if let Some((key, _)) = bands {
            let (offset, keyword) = (key.offset, key.text.to_owned());
            return Err(ParseError::KeywordNotAllowed { offset, keyword, here });
        }
        let meter = meter.unwrap_or(METER_ALL);
        return Ok(MeterMod {
            command,
            meter,
            is_kbps: false,
            burst: false,
            stats: false,
            bands: Vec::new(),
        });
    }
    let meter = meter.ok_or_else(|| missing("the meter's number", "meter=NUMBER"))?;
    let is_kbps = unit.ok_or_else(|| missing("the unit of the meter's rates", "kbps or pktps"))?;
    let no_bands = || missing("what the meter does above which rate", "bands=type=drop,rate=RATE");
    let bands = read_bands(bands.ok_or_else(no_bands)?.1, burst)?;
    if bands.is_empty() {
        return Err(no_bands());
    }
    Ok(MeterMod { command, meter, is_kbps, burst, stats, bands })
}

fn meter_number(item: &Item<'_>, is_delete: bool) -> Result<u32, ParseError> {
    match item.value.text {
        "all" if is_delete => Ok(METER_ALL),
        _ if is_delete => {
            let bad = |_| item.value.bad_value(item.key.text, Allowed::MeterOrAll);
            numbered_meter(item.value, item.key.text).map_err(bad)
        }
        _ => numbered_meter(item.value, item.key.text),
    }
}

/// The text before `bands=`; that keyword, and the text after it.
type SplitMeter<'a> = (Token<'a>, Option<(Token<'a>, Token<'a>)>);

fn split_bands(text: Token<'_>) -> Result<SplitMeter<'_>, ParseError> {
    let mut items = Items::of(text);
    while let Some(key) = items.key()? {
        let rest = items.rest();
        if matches!(key.text, "bands" | "band") && rest.text.starts_with('=') {
            return Ok((text.head(key.offset - text.offset), Some((key, rest.tail(1)))));
        }
        items.value()?;
    }
    Ok((text, None))
}

/// A band as far as it has been read.
struct RawBand<'a> {
    key: Token<'a>,
    is_remark: bool,
    rate: Option<u32>,
    burst_size: Option<u32>,
    prec_level: Option<u8>,
}

impl RawBand<'_> {
    fn finish(self) -> Result<Band, ParseError> {
        let missing = |what, remedy| ParseError::Missing { offset: self.key.offset, what, remedy };
        let rate = self.rate.ok_or_else(|| missing("the band's rate", "rate=RATE"))?;
        let band_type = match (self.is_remark, self.prec_level) {
            (false, _) => BandType::Drop,
            (true, Some(prec_level)) => BandType::DscpRemark { prec_level },
            (true, None) => return Err(missing("by how much the drop precedence rises", "prec_level=1")),
        };
        Ok(Band { band_type, rate, burst_size: self.burst_size.unwrap_or(0) })
    }
}

fn read_bands(text: Token<'_>, burst: bool) -> Result<Vec<Band>, ParseError> {
    let mut bands = Vec::new();
    let mut open: Option<RawBand<'_>> = None;
    let mut items = Items::of(text);
    while let Some(item) = items.next()? {
        let (offset, name) = (item.key.offset, item.key.text);
        if !matches!(name, "type" | "rate" | "burst_size" | "prec_level") {
            return Err(ParseError::UnknownWord { offset, found: item.name(), known: BAND_KEYWORDS });
        }
        if name == "type" {
            let is_remark = match item.value.text {
                "drop" => false,
                "dscp_remark" => true,
                _ => return Err(item.value.bad_value(name, Allowed::BandType)),
            };
            if let Some(done) = open.take() {
                bands.push(done.finish()?);
            }
            open = Some(RawBand { key: item.key, is_remark, rate: None, burst_size: None, prec_level: None });
            continue;
        }
        let Some(band) = &mut open else {
            let (what, remedy) = ("the type that begins a band", "type=drop or type=dscp_remark before it");
            return Err(ParseError::Missing { offset, what, remedy });
        };
        band_keyword(band, item, burst)?;
    }
    if let Some(done) = open {
        bands.push(done.finish()?);
    }
    Ok(bands)
}

fn band_keyword(band: &mut RawBand<'_>, item: Item<'_>, burst: bool) -> Result<(), ParseError> {
    let (offset, name) = (item.key.offset, item.key.text);
    let refuse = |here| Err(ParseError::KeywordNotAllowed { offset, keyword: name.to_owned(), here });
    let number = |min: u32, max: u32| {
        let number = value::number(item.value.text).and_then(|number| u32::try_from(number).ok());
        let bad = || item.value.bad_value(name, Allowed::NumberWithin(min, max));
        number.filter(|number| (min..=max).contains(number)).ok_or_else(bad)
    };
    let is_repeated = match name {
        "rate" => band.rate.replace(number(1, u32::MAX)?).is_some(),
        "burst_size" if !burst => return refuse("without `burst` before the bands"),
        "burst_size" => band.burst_size.replace(number(0, u32::MAX)?).is_some(),
        _ if !band.is_remark => return refuse("in a band that is not of type dscp_remark"),
        _ => band.prec_level.replace(number(1, 255)? as u8).is_some(),
    };
    if is_repeated {
        return Err(ParseError::Duplicate { offset, keyword: name.to_owned() });
    }
    Ok(())
}
