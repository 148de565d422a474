//! Prefixes of one field, to rule out whole subtables by a few leading bits.
//!
//! A path-compressed binary trie. For an address it answers which prefix lengths have a rule whose prefix the
//! address starts with, and how many leading bits that answer depends on. The classifier skips a subtable of
//! another prefix length, and its megaflow need not look at more than those bits.
//!
//! Addresses are left-aligned in a `u128`: bit 127 is the first on the wire, whatever the field's width.

/// The prefixes in use, each counted.
///
/// Nodes lie in one vector, so that a trie of a million rules grows and goes without a call of the allocator for each.
#[derive(Debug)]
pub(super) struct PrefixTrie {
    nodes: Vec<Node>,
    root: Link,
    /// The first of those that are of no use, chained by their first child.
    free: Link,
}

/// The place of a node, or [`NONE`].
type Link = u32;

const NONE: Link = Link::MAX;

#[derive(Debug)]
struct Node {
    /// The path from the root, left-aligned; bits from `len` on are zero.
    prefix: u128,
    children: [Link; 2],
    /// Rules with just this prefix.
    count: u32,
    len: u8,
}

/// Where a link is: the root, or a node's child.
type Place = Option<(Link, usize)>;

impl Default for PrefixTrie {
    fn default() -> PrefixTrie {
        PrefixTrie { nodes: Vec::new(), root: NONE, free: NONE }
    }
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
    fn node(&self, link: Link) -> Option<&Node> {
        self.nodes.get(link as usize)
    }

    fn link_mut(&mut self, place: Place) -> &mut Link {
        match place {
            None => &mut self.root,
            Some((node, child)) => &mut self.nodes[node as usize].children[child],
        }
    }

    fn make(&mut self, node: Node) -> Link {
        if let Some(free) = self.nodes.get_mut(self.free as usize) {
            let link = std::mem::replace(&mut self.free, free.children[0]);
            *free = node;
            return link;
        }
        let link = Link::try_from(self.nodes.len()).ok().filter(|link| *link != NONE);
        self.nodes.push(node);
        link.expect("there are at most two nodes for each of far fewer rules than 2^31")
    }

    /// Takes out a node without rules, if paths do not part there: its only child, or nothing, stands in its place then.
    /// Returns whether it went.
    fn tidy(&mut self, place: Place) -> bool {
        let link = *self.link_mut(place);
        let Some(Node { count: 0, children, .. }) = self.node(link) else { return false };
        let ([only, NONE] | [NONE, only]) = *children else { return false };
        *self.link_mut(place) = only;
        self.nodes[link as usize].children = [self.free, NONE];
        self.free = link;
        true
    }

    /// Counts a prefix of length 1 to 128.
    pub(super) fn insert(&mut self, prefix: u128, len: u8) {
        let prefix = prefix & leading_ones(len);
        let mut place = None;
        let mut link = self.root;
        while let Some(node) = self.nodes.get_mut(link as usize) {
            let common = ((prefix ^ node.prefix).leading_zeros() as u8).min(len).min(node.len);
            if common < node.len {
                let mut children = [NONE; 2];
                children[branch(node.prefix, common)] = link;
                let prefix = prefix & leading_ones(common);
                link = self.make(Node { prefix, children, count: 0, len: common });
                *self.link_mut(place) = link;
                continue;
            }
            if common == len {
                node.count += 1;
                return;
            }
            let child = branch(prefix, common);
            place = Some((link, child));
            link = node.children[child];
        }
        let node = self.make(Node { prefix, children: [NONE; 2], count: 1, len });
        *self.link_mut(place) = node;
    }

    /// Takes back one [`PrefixTrie::insert`].
    ///
    /// # Panics
    /// If there was none: the classifier removes only rules that it has.
    pub(super) fn remove(&mut self, prefix: u128, len: u8) {
        let prefix = prefix & leading_ones(len);
        let (mut above, mut place) = (None, None);
        let mut link = self.root;
        loop {
            let node = self.nodes.get_mut(link as usize).expect("a prefix that is removed was inserted");
            if node.len >= len {
                assert_eq!((node.prefix, node.len), (prefix, len), "a prefix that is removed was inserted");
                node.count -= 1;
                break;
            }
            let child = branch(prefix, node.len);
            (above, place) = (Some(place), Some((link, child)));
            link = node.children[child];
        }
        // Where it went without a child, paths may no longer part above.
        if self.tidy(place)
            && *self.link_mut(place) == NONE
            && let Some(above) = above
        {
            self.tidy(above);
        }
    }

    /// Which prefixes begin `address`.
    pub(super) fn lookup(&self, address: u128) -> Prefixes {
        let mut found = Prefixes { lens: 0, checked_bits: 0 };
        let mut link = self.root;
        while let Some(node) = self.node(link) {
            let common = (address ^ node.prefix).leading_zeros() as u8;
            if common < node.len {
                found.checked_bits = common + 1;
                return found;
            }
            found.checked_bits = node.len;
            if node.count > 0 {
                found.lens |= 1 << (node.len - 1);
            }
            if node.children == [NONE; 2] {
                return found;
            }
            found.checked_bits = node.len + 1;
            link = node.children[branch(address, node.len)];
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
            assert!(trie.root == NONE, "seed {seed}: nodes left behind");
            let mut free = 0;
            while let Some(node) = trie.node(trie.free) {
                (free, trie.free) = (free + 1, node.children[0]);
            }
            assert_eq!(free, trie.nodes.len(), "seed {seed}: nodes lost");
        }
    }
}
