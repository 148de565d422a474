//! Finds Debian's libdpdk, compiles the C shim, and generates the bindings.
//!
//! Whatever is missing stops the build with one line that names the Debian package to install. The flags come
//! from the `pkg-config` program directly: its cflags carry `-march` and `-include`, which DPDK's inline
//! functions need and which the `pkg-config` crate drops.
//!
//! Linking: only the libraries whose symbols are used are named here, dynamically, by `rustc-link-lib`, which
//! (unlike `rustc-link-arg`) reaches the final binaries of all dependents. The drivers cannot be linked that
//! way: rustc passes `--as-needed`, and a driver exports no symbol that could be referenced (two do, whose functions
//! have no other form: net_ring and net_vhost). They come from
//! the plugin directory that is compiled into librte_eal (on Debian `/usr/lib/<triplet>/dpdk/pmds-<ABI>`), all
//! of which EAL loads at start. `pmd/tests/drivers.rs` proves it on a real binary, physical NICs' included.

use std::env;
use std::fmt;
use std::panic;
use std::path::PathBuf;
use std::process::{self, Command};

/// The oldest DPDK whose interface these bindings describe.
const DPDK_VERSION_MIN: &str = "22.11";

/// Libraries of DPDK whose symbols `pmd` uses.
const LIBRARIES: [&str; 7] =
    ["rte_net_vhost", "rte_net_ring", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_eal"];

/// Functions of DPDK that `pmd` calls.
const FUNCTIONS: [&str; 67] = [
    "dpdk_shim_.*",
    "rte_dev_name",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_eal_cleanup",
    "rte_eal_get_runtime_dir",
    "rte_eal_has_hugepages",
    "rte_eal_has_pci",
    "rte_eal_init",
    "rte_eal_iova_mode",
    "rte_eth_allmulticast_disable",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_count_avail",
    "rte_eth_dev_default_mac_addr_set",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_is_removed",
    "rte_eth_dev_is_valid_port",
    "rte_eth_dev_set_link_down",
    "rte_eth_dev_set_link_up",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_find_next",
    "rte_eth_from_rings",
    "rte_eth_iterator_cleanup",
    "rte_eth_iterator_init",
    "rte_eth_iterator_next",
    "rte_eth_link_get_nowait",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_disable",
    "rte_eth_promiscuous_enable",
    "rte_eth_promiscuous_get",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_stats_reset",
    "rte_eth_tx_queue_setup",
    "rte_eth_vhost_get_queue_event",
    "rte_eth_xstats_get",
    "rte_eth_xstats_get_names",
    "rte_eth_xstats_reset",
    "rte_get_tsc_hz",
    "rte_lcore_count",
    "rte_log_set_global_level",
    "rte_log_set_level_pattern",
    "rte_mempool_avail_count",
    "rte_mempool_calc_obj_size",
    "rte_mempool_free",
    "rte_mempool_in_use_count",
    "rte_openlog_stream",
    "rte_pktmbuf_clone",
    "rte_pktmbuf_copy",
    "rte_pktmbuf_free_bulk",
    "rte_pktmbuf_pool_create_by_ops",
    "rte_ring_create",
    "rte_ring_free",
    "rte_socket_count",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_version",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shim");
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    // For `tests/build_script.rs`, which runs this program again.
    println!("cargo::rustc-env=DPDK_SYS_OUT_DIR={}", out_directory().display());
    if let Err(missing) = build() {
        eprintln!("{missing}");
        process::exit(1);
    }
}

/// What the build needs and did not find. `Display` is the one line that the builder sees.
enum Missing {
    PkgConfig { program: String, error: std::io::Error },
    Dpdk { answer: String },
    Libclang,
    Compiler { error: cc::Error },
    Headers { error: bindgen::BindgenError },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PkgConfig { program, error } => {
                write!(f, "dpdk-sys: cannot run `{program}` ({error}): apt install pkg-config")
            }
            Self::Dpdk { answer } => write!(
                f,
                "dpdk-sys: pkg-config finds no libdpdk >= {DPDK_VERSION_MIN} ({answer}): apt install libdpdk-dev"
            ),
            Self::Libclang => {
                write!(
                    f,
                    "dpdk-sys: bindgen finds no libclang (LIBCLANG_PATH can point to it): apt install libclang-dev"
                )
            }
            Self::Compiler { error } => {
                let error = one_line(&error.to_string());
                write!(
                    f,
                    "dpdk-sys: the C shim does not compile ({error}): apt install gcc libc6-dev libdpdk-dev"
                )
            }
            Self::Headers { error } => {
                let error = one_line(&error.to_string());
                write!(
                    f,
                    "dpdk-sys: libclang cannot read the headers ({error}): apt install libclang-dev libdpdk-dev"
                )
            }
        }
    }
}

fn build() -> Result<(), Missing> {
    let directories = pkg_config(&["--libs-only-L"])?;
    let cflags = pkg_config(&["--cflags"])?;
    check_libclang()?;
    compile_shim(&cflags)?;
    generate_bindings(&cflags)?;
    for directory in directories.iter().filter_map(|flag| flag.strip_prefix("-L")) {
        println!("cargo::rustc-link-search=native={directory}");
    }
    println!("cargo::rustc-link-search=native={}", out_directory().display());
    println!("cargo::rustc-link-lib=static=dpdk_shim");
    // After the shim, whose symbols they resolve.
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    Ok(())
}

/// The flags that pkg-config answers for libdpdk, one an element.
fn pkg_config(arguments: &[&str]) -> Result<Vec<String>, Missing> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = Command::new(&program)
        .args(["--print-errors", "--errors-to-stdout"])
        .args(arguments)
        .arg(format!("libdpdk >= {DPDK_VERSION_MIN}"))
        .output()
        .map_err(|error| Missing::PkgConfig { program, error })?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(Missing::Dpdk { answer: one_line(&answer) });
    }
    Ok(answer.split_whitespace().map(str::to_owned).collect())
}

/// The first line of a tool's answer.
fn one_line(answer: &str) -> String {
    answer.lines().next().unwrap_or("no reason given").trim().to_owned()
}

/// bindgen panics, at length, where libclang is missing; this asks first.
fn check_libclang() -> Result<(), Missing> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let answer = panic::catch_unwind(bindgen::clang_version);
    panic::set_hook(hook);
    answer.map(|_| ()).map_err(|_| Missing::Libclang)
}

fn compile_shim(cflags: &[String]) -> Result<(), Missing> {
    let mut shim = cc::Build::new();
    shim.file("shim/shim.c").include("shim").opt_level(3).warnings(true).cargo_metadata(false);
    // `rte_thread_register()` and friends are declared experimental in 22.11.
    shim.define("ALLOW_EXPERIMENTAL_API", None);
    for flag in cflags {
        shim.flag(flag);
    }
    shim.try_compile("dpdk_shim").map_err(|error| Missing::Compiler { error })
}

fn generate_bindings(cflags: &[String]) -> Result<(), Missing> {
    let mut builder = bindgen::Builder::default()
        .header("shim/wrapper.h")
        .clang_args(cflags)
        .clang_arg("-DALLOW_EXPERIMENTAL_API")
        .use_core()
        .derive_default(true)
        .generate_comments(false)
        .layout_tests(true)
        .prepend_enum_name(false)
        // The layout of pointers that Rust only passes on is none of its business.
        .opaque_type("rte_mempool")
        .opaque_type("rte_ring")
        .opaque_type("rte_device")
        .opaque_type("rte_bus")
        .opaque_type("rte_mbuf_ext_shared_info")
        .allowlist_type("rte_mbuf")
        .allowlist_type("rte_mempool_cache")
        .allowlist_var("SHIM_.*")
        .allowlist_var("RTE_LOG_(EMERG|ALERT|CRIT|ERR|WARNING|NOTICE|INFO|DEBUG)")
        .allowlist_var("RTE_ETH_(MQ_RX_NONE|MQ_RX_RSS|LINK_.*|NAME_MAX_LEN|SPEED_NUM_.*)")
        .allowlist_var("RTE_IOVA_.*")
        .rust_edition(bindgen::RustEdition::Edition2024);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    let bindings = builder.generate().map_err(|error| Missing::Headers { error })?;
    bindings
        .write_to_file(out_directory().join("bindings.rs"))
        .expect("cargo gives build scripts a writable OUT_DIR");
    Ok(())
}

fn out_directory() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"))
}
