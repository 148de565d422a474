//! Prefixes of one address field, to rule out whole subtables by a few leading bits.
//!
//! A path-compressed binary trie. For an address it answers which prefix lengths have a rule whose prefix the
//! address starts with, and how many leading bits that answer depends on. The classifier skips a subtable of
//! another prefix length, and its megaflow need not look at more than those bits.
//!
//! Addresses are left-aligned in a `u128`: bit 127 is the first on the wire, whatever the field's width.

/// The prefixes in use, each counted.
#[derive(Debug, Default)]
pub(super) struct PrefixTrie {
    root: Option<Box<Node>>,
}

#[derive(Debug)]
struct Node {
    /// The path from the root, left-aligned; bits from `len` on are zero.
    prefix: u128,
    len: u8,
    /// Rules with just this prefix.
    count: u32,
    children: [Option<Box<Node>>; 2],
}

/// What the trie says of one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Prefixes {
    /// Bit `n - 1` is set if some rule's prefix of length `n` begins the address.
    lens: u128,
    /// Leading bits of the address that decided it.
    pub(super) checked_bits: u8,
}

impl Prefixes {
    /// Whether a prefix of this length (1 to 128) begins the address.
    pub(super) fn contains(self, len: u8) -> bool {
        self.lens >> (len - 1) & 1 == 1
    }
}

/// The `len` leading bits set.
pub(super) fn leading_ones(len: u8) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (128 - u32::from(len)) }
}

/// The first bit after the first `len`, as an index of children.
fn branch(value: u128, len: u8) -> usize {
    (value >> (127 - u32::from(len)) & 1) as usize
}

impl PrefixTrie {
    /// Counts a prefix of length 1 to 128.
    pub(super) fn insert(&mut self, prefix: u128, len: u8) {
        Self::insert_at(&mut self.root, prefix & leading_ones(len), len);
    }

    fn insert_at(link: &mut Option<Box<Node>>, prefix: u128, len: u8) {
        let Some(node) = link else {
            *link = Some(Box::new(Node { prefix, len, count: 1, children: [None, None] }));
            return;
        };
        let common = ((prefix ^ node.prefix).leading_zeros() as u8).min(len).min(node.len);
        if common < node.len {
            let parent =
                Node { prefix: prefix & leading_ones(common), len: common, count: 0, children: [None, None] };
            let lower = std::mem::replace(node, Box::new(parent));
            let direction = branch(lower.prefix, common);
            node.children[direction] = Some(lower);
        }
        if common == len {
            node.count += 1;
        } else {
            Self::insert_at(&mut node.children[branch(prefix, common)], prefix, len);
        }
    }

    /// Takes back one [`PrefixTrie::insert`].
    ///
    /// # Panics
    /// If there was none: the classifier removes only rules that it has.
    pub(super) fn remove(&mut self, prefix: u128, len: u8) {
        Self::remove_at(&mut self.root, prefix & leading_ones(len), len);
    }

    fn remove_at(link: &mut Option<Box<Node>>, prefix: u128, len: u8) {
        let node = link.as_mut().expect("a prefix that is removed was inserted");
        if node.len == len {
            assert_eq!(node.prefix, prefix, "a prefix that is removed was inserted");
            node.count -= 1;
        } else {
            Self::remove_at(&mut node.children[branch(prefix, node.len)], prefix, len);
        }
        if node.count == 0 {
            // A node without rules stays only where paths part.
            match (node.children[0].take(), node.children[1].take()) {
                (Some(zero), Some(one)) => node.children = [Some(zero), Some(one)],
                (only, None) | (None, only) => *link = only,
            }
        }
    }

    /// Which prefixes begin `address`.
    pub(super) fn lookup(&self, address: u128) -> Prefixes {
        let mut found = Prefixes { lens: 0, checked_bits: 0 };
        let mut link = &self.root;
        while let Some(node) = link {
            let common = (address ^ node.prefix).leading_zeros() as u8;
            if common < node.len {
                found.checked_bits = common + 1;
                return found;
            }
            found.checked_bits = node.len;
            if node.count > 0 {
                found.lens |= 1 << (node.len - 1);
            }
            if node.children.iter().all(Option::is_none) {
                return found;
            }
            found.checked_bits = node.len + 1;
            link = &node.children[branch(address, node.len)];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random prefixes close together, so that they nest and part often.
    fn random_prefix(rng: &mut fastrand::Rng) -> (u128, u8) {
        let len = *rng.choice(&[1, 2, 3, 7, 8, 9, 16, 31, 32, 64, 127, 128]).expect("not empty");
        let value = u128::from(rng.u64(..)) << 64 & (0xc381 << 112) | u128::from(rng.u8(0..4));
        (value & leading_ones(len), len)
    }

    #[test]
    fn the_trie_agrees_with_a_list_and_its_answer_hangs_on_the_checked_bits_only() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut trie, mut list) = (PrefixTrie::default(), Vec::new());
            for _ in 0..rng.usize(1..60) {
                if !list.is_empty() && rng.u8(..) < 80 {
                    let (prefix, len) = list.swap_remove(rng.usize(..list.len()));
                    trie.remove(prefix, len);
                } else {
                    let (prefix, len) = random_prefix(&mut rng);
                    trie.insert(prefix, len);
                    list.push((prefix, len));
                }
                let address = random_prefix(&mut rng).0;
                let found = trie.lookup(address);
                for len in 1..=128 {
                    let expected =
                        list.iter().any(|&(p, l)| l == len && (p ^ address) & leading_ones(len) == 0);
                    assert_eq!(found.contains(len), expected, "seed {seed} length {len}");
                }
                let noise = u128::from(rng.u64(..)) << 64 | u128::from(rng.u64(..));
                let other = address ^ (noise & !leading_ones(found.checked_bits));
                assert_eq!(trie.lookup(other), found, "seed {seed}");
            }
            for (prefix, len) in list.drain(..) {
                trie.remove(prefix, len);
            }
            assert!(trie.root.is_none(), "seed {seed}: nodes left behind");
        }
    }
}
