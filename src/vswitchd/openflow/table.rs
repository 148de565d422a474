//! Settings of tables: table-mods, what becomes of packets that match nothing, and notices of tables that run full.

use super::agent::{Agent, Answer};
use super::controller::Controller;
use super::{Sessions, describe};
use crate::ofproto::{BridgeConfig, MissHandling, Ofproto, TableSettings};
use crate::openflow::OfError;
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::message::{Message, PacketInReason, TableDesc, TableMod, Version};
use crate::vswitchd::switch::Switch;

/// `ofp_table_mod_prop_eviction_flag`: importance and lifetime.
const EVICTION_FLAGS: u32 = 0b110;
/// OFPTR_VACANCY_DOWN.
const TABLE_VACANCY_DOWN: u8 = 3;
/// OFPTR_VACANCY_UP.
const TABLE_VACANCY_UP: u8 = 4;

impl Agent {
    pub(super) fn table_mod(
        &mut self,
        table_mod: &TableMod,
        version: Version,
        switch: &mut Switch,
    ) -> Answer {
        let TableMod { table, miss, eviction, vacancy } = *table_mod;
        if table != TABLE_ALL && !describe::has_table(table) {
            return Err(OfError::TableModBadTable);
        }
        if let Some(Some((down, up))) = vacancy
            && (down > up || up > 100)
        {
            return Err(OfError::BadPropertyValue);
        }
        let miss = match miss.filter(|_| matches!(version, Version::V11 | Version::V12)) {
            None => None,
            Some(0) => Some(MissHandling::Controller),
            Some(1) => Some(MissHandling::Continue),
            Some(2) => Some(MissHandling::Drop),
            Some(_) => return Err(OfError::TableModBadConfig),
        };
        let stats = switch.ofproto.table_stats(self.bridge());
        let meant = || describe::tables().filter(|it| table == TABLE_ALL || *it == table);
        // OFPTC_VACANCY_EVENTS without bounds keeps those that there are.
        let has_bounds = |table| switch.ofproto.table_settings(self.bridge(), table).vacancy.is_some();
        if version >= Version::V14 && vacancy.is_none() && !meant().all(has_bounds) {
            return Err(OfError::TableModBadConfig);
        }
        for table in meant() {
            // Which of the two events comes first is settled when they are asked for (OpenFlow 1.5.1 section 7.3.4.1).
            if let Some(Some((_, up))) = vacancy {
                if describe::vacancy(&stats, table) < up {
                    self.full_tables.insert(table);
                } else {
                    self.full_tables.remove(&table);
                }
            }
            let old = switch.ofproto.table_settings(self.bridge(), table);
            let settings = TableSettings {
                eviction: eviction.unwrap_or(old.eviction),
                vacancy: vacancy.unwrap_or(old.vacancy),
                miss: miss.unwrap_or(old.miss),
                ..old
            };
            if miss.is_some() {
                self.misses_set.insert(table);
            }
            if settings != old {
                switch
                    .ofproto
                    .table_set(self.bridge(), table, settings)
                    .map_err(|_| OfError::TableModEperm)?;
            }
        }
        Ok(vec![])
    }

    /// Settings of all tables.
    pub(super) fn table_descs(&self, switch: &mut Switch) -> Vec<TableDesc> {
        let stats = switch.ofproto.table_stats(self.bridge());
        let desc = |table| {
            let settings = switch.ofproto.table_settings(self.bridge(), table);
            let room = describe::vacancy(&stats, table);
            TableDesc {
                table,
                eviction: settings.eviction,
                // By importance, then by what is left of a lifetime.
                eviction_flags: EVICTION_FLAGS,
                vacancy: settings.vacancy.map(|(down, up)| (down, up, room)),
            }
        };
        describe::tables().map(desc).collect()
    }

    /// Has the bridge hand packets up as its controllers ask for. Up to OpenFlow 1.2 what matches nothing goes to the
    /// controller, unless a table-mod said otherwise; from 1.3 on it is dropped unless a rule says otherwise. So while a
    /// controller of the former kind is there it goes there. Packets whose TTL runs out go up while anybody wants them.
    pub(super) fn follow_wishes(&mut self, switch: &mut Switch, sessions: &mut dyn Sessions) {
        let (mut wants_misses, mut wants_invalid_ttl) = (false, false);
        for (token, controller) in &self.controllers {
            let version = sessions.get(*token).and_then(|session| session.version());
            let is_old = version.is_some_and(|version| version < Version::V13);
            wants_misses |= is_old && controller.wants_packet_in(PacketInReason::TableMiss);
            wants_invalid_ttl |= controller.wants_packet_in(PacketInReason::InvalidTtl);
        }
        if let Some(settings) = switch.ofproto.bridge(self.bridge())
            && settings.invalid_ttl_to_controller != wants_invalid_ttl
        {
            let settings = BridgeConfig { invalid_ttl_to_controller: wants_invalid_ttl, ..settings.clone() };
            if let Err(error) = switch.ofproto.bridge_set(self.bridge(), settings) {
                tracing::error!(bridge = self.name(), "packets whose TTL runs out: {error}");
            }
        }
        if wants_misses == self.sends_misses {
            return;
        }
        self.sends_misses = wants_misses;
        let miss = if wants_misses { MissHandling::Controller } else { MissHandling::Drop };
        for table in describe::tables().filter(|table| !self.misses_set.contains(table)) {
            let settings = TableSettings { miss, ..switch.ofproto.table_settings(self.bridge(), table) };
            if let Err(error) = switch.ofproto.table_set(self.bridge(), table, settings) {
                tracing::error!(bridge = self.name(), "table {table}: {error}");
            }
        }
    }

    /// Tells of tables that have become full, or have room again (OpenFlow 1.5.1 section 7.4.5).
    pub(super) fn watch_tables(&mut self, switch: &mut Switch, sessions: &mut dyn Sessions) {
        let watched = describe::tables()
            .filter(|table| switch.ofproto.table_settings(self.bridge(), *table).vacancy.is_some());
        if watched.count() == 0 {
            self.full_tables.clear();
            return;
        }
        for table in self.table_descs(switch) {
            let Some((down, up, room)) = table.vacancy else { continue };
            let is_full = self.full_tables.contains(&table.table);
            let reason = match is_full {
                false if room < down => TABLE_VACANCY_DOWN,
                true if room > up => TABLE_VACANCY_UP,
                _ => continue,
            };
            if is_full {
                self.full_tables.remove(&table.table);
            } else {
                self.full_tables.insert(table.table);
            }
            let wants =
                |controller: &Controller| controller.wants(controller.asynchronous.table_status, reason);
            for (token, _) in self.controllers.iter().filter(|(_, controller)| wants(controller)) {
                if let Some(session) = sessions.get(*token).filter(|it| it.version() >= Some(Version::V14)) {
                    session.notify(&Message::TableStatus { reason, table });
                }
            }
        }
    }
}
