//! Which memory EAL gets: hugepages where enough of them are free, ordinary pages otherwise.

use std::fs;
use std::path::Path;

/// Where the kernel tells of its hugepages, one folder a size.
const HUGEPAGES_PATH: &str = "/sys/kernel/mm/hugepages";

/// Hugepages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HugepageClass {
    pub(crate) page_size: usize,
    pub(crate) free_count: usize,
}

/// The free hugepages of this machine; none where the kernel has no hugepages at all.
pub(crate) fn free() -> Vec<HugepageClass> {
    free_in(Path::new(HUGEPAGES_PATH))
}

fn free_in(root: &Path) -> Vec<HugepageClass> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    entries.filter_map(|entry| read_class(&entry.ok()?.path())).collect()
}

/// Reads `hugepages-<n>kB/free_hugepages`, less what other processes have reserved and not yet touched.
fn read_class(path: &Path) -> Option<HugepageClass> {
    let name = path.file_name()?.to_str()?;
    let size_kb: usize = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    let read = |file: &str| fs::read_to_string(path.join(file)).ok()?.trim().parse::<usize>().ok();
    let free_count = read("free_hugepages")?.saturating_sub(read("resv_hugepages").unwrap_or(0));
    Some(HugepageClass { page_size: size_kb * 1024, free_count })
}

/// Bytes in all of them.
pub(crate) fn size_of_all(classes: &[HugepageClass]) -> usize {
    classes.iter().map(|class| class.page_size * class.free_count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_hugepages_are_those_neither_used_nor_reserved() {
        let root = tempfile::tempdir().expect("there is a temporary directory");
        for (name, free_count, reserved_count) in [("2048", "10\n", "3\n"), ("1048576", "1\n", "0\n")] {
            let class = root.path().join(format!("hugepages-{name}kB"));
            fs::create_dir(&class).expect("writable");
            fs::write(class.join("free_hugepages"), free_count).expect("writable");
            fs::write(class.join("resv_hugepages"), reserved_count).expect("writable");
        }
        fs::create_dir(root.path().join("something-else")).expect("writable");
        let mut classes = free_in(root.path());
        classes.sort_by_key(|class| class.page_size);
        let expected = [
            HugepageClass { page_size: 2 << 20, free_count: 7 },
            HugepageClass { page_size: 1 << 30, free_count: 1 },
        ];
        assert_eq!(classes, expected);
        assert_eq!(size_of_all(&classes), (14 << 20) + (1 << 30));
    }

    #[test]
    fn a_kernel_without_hugepages_has_none_free() {
        assert!(free_in(Path::new("/nonexistent")).is_empty());
    }
}
