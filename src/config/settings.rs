//! What a port is to its bridge, from raw to checked: VLANs, flags, spanning tree.

use super::check::{Checker, text_or};
use super::fault::{FaultKind, KeyPath};
use super::raw::*;
use super::value::{ListOrWord, ListWord, Text};
use crate::flow::OfPort;
use crate::ofproto::{PortConfig, PortFlags, PriorityTags, StpState, VlanMode, VlanSet};
use std::collections::HashMap;

impl Checker<'_> {
    /// The settings of a port.
    pub(super) fn settings(
        &mut self,
        raw: &mut RawPort,
        name: &str,
        number: OfPort,
        path: &KeyPath,
    ) -> PortConfig {
        let vlan = self.vlan(raw.vlan.take().unwrap_or_default().0, &path.key("vlan"));
        let mut flags =
            PortFlags { down: text_or(raw.admin.take(), Admin::Up) == Admin::Down, ..PortFlags::default() };
        let disable = self.elements(raw.disable.take(), &path.key("disable"), Disable::ALLOWED_WORDS);
        let mut taken = HashMap::new();
        for (path, Text(word)) in disable {
            self.claim(&mut taken, word, word.word().to_owned(), path);
            *word.flag(&mut flags) = true;
        }
        PortConfig {
            number: Some(number),
            vlan,
            priority_tags: text_or(raw.priority_tags.take(), PriorityTags::Never),
            protected: raw.protected.take().unwrap_or(false),
            flags,
            stp: text_or(raw.stp.take(), StpState::Forwarding),
            ..PortConfig::new(name)
        }
    }

    /// `vlan:` in either of its two forms.
    fn vlan(&mut self, raw: RawVlan, path: &KeyPath) -> VlanMode {
        let short = [
            ("access", raw.access.is_some()),
            ("trunk", raw.trunk.is_some()),
            ("native", raw.native.is_some()),
        ];
        let is_long = raw.mode.is_some() || raw.tag.is_some() || raw.trunks.is_some() || raw.cvlans.is_some();
        if !is_long {
            return self.short_vlan(raw, path);
        }
        for (key, _) in short.into_iter().filter(|(_, is_set)| *is_set) {
            let (other, allowed) =
                ("mode, tag, trunks or cvlans".to_owned(), "access, trunk and native alone");
            self.fault(path.key(key), FaultKind::Conflict { other, allowed });
        }
        self.long_vlan(raw, path)
    }

    fn short_vlan(&mut self, raw: RawVlan, path: &KeyPath) -> VlanMode {
        if let Some(vid) = raw.access {
            let others = [("trunk", raw.trunk.is_some()), ("native", raw.native.is_some())];
            for (other, _) in others.into_iter().filter(|(_, is_set)| *is_set) {
                let allowed = "access alone, or trunk and native";
                self.fault(path.key(other), FaultKind::Conflict { other: "access".to_owned(), allowed });
            }
            return VlanMode::Access { tag: vid.0 as u16 };
        }
        let allowed = self.vlan_set(raw.trunk, "a VLAN id from 1 to 4094", &path.key("trunk"));
        match raw.native {
            Some(vid) => VlanMode::NativeUntagged { tag: vid.0 as u16, allowed },
            None => VlanMode::Trunk { allowed },
        }
    }

    /// As Open vSwitch's `vlan_mode`, `tag`, `trunks` and `cvlans`.
    fn long_vlan(&mut self, raw: RawVlan, path: &KeyPath) -> VlanMode {
        let default = if raw.tag.is_some() { Mode::Access } else { Mode::Trunk };
        let mode = text_or(raw.mode, default);
        let foreign = [
            ("tag", raw.tag.is_some() && mode == Mode::Trunk),
            ("trunks", raw.trunks.is_some() && matches!(mode, Mode::Access | Mode::Dot1qTunnel)),
            ("cvlans", raw.cvlans.is_some() && mode != Mode::Dot1qTunnel),
        ];
        for (key, _) in foreign.into_iter().filter(|(_, is_foreign)| *is_foreign) {
            let allowed =
                "tag in all modes but trunk, trunks in trunk and native modes, cvlans in dot1q-tunnel";
            self.fault(
                path.key(key),
                FaultKind::Conflict { other: format!("mode: {}", mode.word()), allowed },
            );
        }
        if raw.tag.is_none() && mode != Mode::Trunk {
            self.fault(path.key("tag"), FaultKind::Missing { allowed: "a VLAN id from 1 to 4094" });
        }
        let tag = raw.tag.map_or(1, |vid| vid.0 as u16);
        let what = "a VLAN id from 0 to 4095";
        let allowed = self.vlan_set(raw.trunks, what, &path.key("trunks"));
        let customer = self.vlan_set(raw.cvlans, what, &path.key("cvlans"));
        match mode {
            Mode::Access => VlanMode::Access { tag },
            Mode::Trunk => VlanMode::Trunk { allowed },
            Mode::NativeTagged => VlanMode::NativeTagged { tag, allowed },
            Mode::NativeUntagged => VlanMode::NativeUntagged { tag, allowed },
            Mode::Dot1qTunnel => VlanMode::Dot1qTunnel { tag, customer },
        }
    }

    /// A list of VLANs; all of them where there is none.
    fn vlan_set<const MIN: u64, const MAX: u64, W: ListWord>(
        &mut self,
        list: Option<ListOrWord<super::value::Whole<MIN, MAX>, W>>,
        what: &'static str,
        path: &KeyPath,
    ) -> VlanSet {
        let Some(list) = list.and_then(|list| list.list) else { return VlanSet::all() };
        if list.is_empty() {
            let kind = FaultKind::WrongValue { found: "an empty list".into(), allowed: W::ALLOWED.into() };
            self.fault(path.clone(), kind);
        }
        let mut taken = HashMap::new();
        let vids = self.elements(Some(list), path, what);
        for (path, vid) in &vids {
            self.claim(&mut taken, vid.0, format!("VLAN {}", vid.0), path.clone());
        }
        vids.into_iter().map(|(_, vid)| vid.0 as u16).collect()
    }
}
