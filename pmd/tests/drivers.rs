//! Drivers are really there: EAL loads its plugin directory, physical NICs' drivers included, although nothing
//! in this binary refers to any of them.

mod common;

use std::collections::BTreeSet;
use std::fs;

use pmd::Port;

/// Names of the driver libraries that this process has mapped, `net_ixgbe`.
fn drivers_mapped() -> BTreeSet<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("procfs is mounted");
    let library = |line: &str| {
        let file = line.rsplit('/').next()?;
        Some(file.strip_prefix("librte_")?.split(".so").next()?.to_owned())
    };
    maps.lines().filter_map(library).collect()
}

#[test]
fn a_driver_that_nobody_references_probes() {
    let eal = common::eal();
    for (devargs, driver) in [("net_null_drivers", "net_null"), ("net_ring_drivers", "net_ring")] {
        let port = Port::attach(&eal, devargs).expect("the driver is loaded");
        assert_eq!(port.info().driver, driver);
        assert_eq!(port.info().device, devargs);
    }
}

#[test]
fn drivers_of_physical_and_virtual_nics_are_in_the_process() {
    let _eal = common::eal();
    let mapped = drivers_mapped();
    let wanted = [
        "net_ixgbe",
        "net_i40e",
        "net_ice",
        "net_iavf",
        "net_e1000",
        "net_igc",
        "net_mlx5",
        "net_virtio",
        "net_vmxnet3",
        "net_ena",
        "net_bnxt",
        "net_tap",
        "net_null",
        "net_pcap",
        "net_ring",
        "net_af_packet",
        "net_vhost",
        "net_memif",
        "bus_pci",
        "bus_vdev",
        "mempool_ring",
    ];
    let missing: Vec<_> = wanted.iter().filter(|&&driver| !mapped.contains(driver)).collect();
    assert!(missing.is_empty(), "not mapped: {missing:?}");
}
