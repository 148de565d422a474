//! Meters, in the words of `ovs-ofctl -O OpenFlow15 dump-meters` and `meter-stats`, each on one line.

use super::format_duration;
use crate::openflow::meter::{Band, BandType, METER_ALL, MeterMod, MeterModCommand, MeterStats};

/// A meter-mod as [`parse_meter_mod`](crate::openflow::parse::parse_meter_mod) reads it for the same command.
pub fn format_meter_mod(meter_mod: &MeterMod) -> String {
    let MeterMod { command, meter, is_kbps, burst, stats, bands } = meter_mod;
    if *command == MeterModCommand::Delete {
        return if *meter == METER_ALL { "meter=all".to_owned() } else { format!("meter={meter}") };
    }
    let mut parts = vec![format!("meter={meter}"), if *is_kbps { "kbps" } else { "pktps" }.to_owned()];
    let flags = [("burst", *burst), ("stats", *stats)];
    parts.extend(flags.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (*name).to_owned()));
    let bands: Vec<_> = bands.iter().map(|band| format_band(band, *burst)).collect();
    parts.push(format!("bands={}", bands.join(",")));
    parts.join(",")
}

/// One line of `meter-stats`.
pub fn format_meter_stats(stats: &MeterStats) -> String {
    let MeterStats { meter, flow_count, packets, bytes, duration_ns, bands } = stats;
    let mut line = format!(
        "meter:{meter} flow_count:{flow_count} packet_in_count:{packets} byte_in_count:{bytes} duration:{} bands:",
        format_duration(*duration_ns)
    );
    for (index, (packets, bytes)) in bands.iter().enumerate() {
        line.push_str(&format!(" {index}: packet_count:{packets} byte_count:{bytes}"));
    }
    line
}

fn format_band(band: &Band, burst: bool) -> String {
    let Band { band_type, rate, burst_size } = band;
    let mut text = match band_type {
        BandType::Drop => format!("type=drop,rate={rate}"),
        BandType::DscpRemark { .. } => format!("type=dscp_remark,rate={rate}"),
    };
    // Without the flag nobody looks at it.
    if burst && *burst_size != 0 {
        text.push_str(&format!(",burst_size={burst_size}"));
    }
    if let BandType::DscpRemark { prec_level } = band_type {
        text.push_str(&format!(",prec_level={prec_level}"));
    }
    text
}
