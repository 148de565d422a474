//! A bridge's OpenFlow connections, from raw to checked.

use super::check::{Checker, text_or, whole_or};
use super::fault::{FaultKind, KeyPath};
use super::raw::*;
use super::types::{FailMode, OpenFlowConfig, TlsConfig};
use super::value::{FromText, Section, Text};
use crate::ofproto::ControllerRate;
use crate::openflow::endpoint::{Listen, Remote};
use crate::openflow::message::{Version, VersionSet};
use crate::sync::Nanos;
use std::collections::HashMap;
use std::path::PathBuf;

impl Checker<'_> {
    /// `openflow:` of a bridge. Listening places are unique in the switch.
    pub(super) fn openflow(
        &mut self,
        raw: RawOpenFlow,
        listens: &mut HashMap<Listen, KeyPath>,
        path: &KeyPath,
    ) -> OpenFlowConfig {
        let defaults = OpenFlowConfig::default();
        let named = raw.versions.is_some();
        let versions = self.elements(raw.versions, &path.key("versions"), Version::ALLOWED);
        let versions: Vec<Version> = versions.into_iter().map(|(_, Text(version))| version).collect();
        if named && versions.is_empty() {
            let allowed = "at least one version; leave the key out to allow all";
            self.fault(path.key("versions"), FaultKind::Missing { allowed });
        }
        let mut taken = HashMap::new();
        let mut controllers = Vec::new();
        for (at, Text(remote)) in self.elements(raw.controllers, &path.key("controllers"), Remote::ALLOWED) {
            self.claim(&mut taken, remote.clone(), remote.to_string(), at);
            controllers.push(remote);
        }
        let mut listen = Vec::new();
        for (at, Text(place)) in self.elements(raw.listen, &path.key("listen"), Listen::ALLOWED) {
            self.claim(listens, place.clone(), place.to_string(), at);
            listen.push(place);
        }
        let tls = raw.tls.and_then(|Section(raw)| self.tls(raw, &path.key("tls")));
        if tls.is_none() && (controllers.iter().any(Remote::is_tls) || listen.iter().any(Listen::is_tls)) {
            let allowed = "certificate, private_key and ca_certificate, for the connections by tls: or ptls:";
            self.fault(path.key("tls"), FaultKind::Missing { allowed });
        }
        let probe = whole_or(raw.probe_interval_s, 5);
        OpenFlowConfig {
            versions: if versions.is_empty() { defaults.versions } else { VersionSet::of(&versions) },
            controllers,
            listen,
            management_socket: raw.management_socket.unwrap_or(defaults.management_socket),
            fail_mode: text_or(raw.fail_mode, FailMode::Standalone),
            probe_interval: (probe > 0).then(|| Nanos::from_secs(probe)),
            backoff_max: Nanos::from_secs(whole_or(raw.backoff_max_s, 8)),
            rate_limit: self.rate(raw.rate_limit, &path.key("rate_limit")),
            tls,
        }
    }

    /// How many packets go to controllers.
    pub(super) fn rate(&mut self, raw: Option<Section<RawRate>>, path: &KeyPath) -> Option<ControllerRate> {
        let Section(raw) = raw?;
        let packets_per_s = raw.pps.map_or_else(
            || {
                let allowed = "a whole number from 1 to 10000000";
                self.fault(path.key("pps"), FaultKind::Missing { allowed });
                1
            },
            |pps| pps.0 as u32,
        );
        Some(ControllerRate { packets_per_s, burst: raw.burst.map_or(packets_per_s, |burst| burst.0 as u32) })
    }

    fn tls(&mut self, raw: RawTls, path: &KeyPath) -> Option<TlsConfig> {
        let mut file = |value: Option<Text<AbsolutePath>>, key| -> Option<PathBuf> {
            if value.is_none() {
                self.fault(path.key(key), FaultKind::Missing { allowed: AbsolutePath::ALLOWED });
            }
            value.map(|Text(AbsolutePath(path))| path)
        };
        let certificate = file(raw.certificate, "certificate");
        let private_key = file(raw.private_key, "private_key");
        let ca_certificate = file(raw.ca_certificate, "ca_certificate");
        Some(TlsConfig {
            certificate: certificate?,
            private_key: private_key?,
            ca_certificate: ca_certificate?,
        })
    }
}
