//! Aligned tables that fit a line.
//!
//! # Why so
//! A table that is wider than the terminal is worse than none. Columns of numbers keep their width; columns of
//! text give way, the widest first, and wrap after a comma or a space where there is one. Two blanks part
//! columns; no lines are drawn, so that a table can be piped through `awk`.
//!
//! # Bounds
//! A text column never gets narrower than [`TEXT_WIDTH_MIN`] (or what it needs, if that is less). If even that is
//! too wide, the table is: whoever makes a table keeps its numbers within the line.
//!
//! # Leaves out
//! Colours; characters that are not one cell wide. Control characters, which could come in a name and drive the
//! terminal, are shown as `?`.

/// The narrowest that a column of text is made.
const TEXT_WIDTH_MIN: usize = 8;

/// Between two columns.
const GAP: &str = "  ";

/// How a column is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// Right-aligned; never wrapped.
    Number(&'static str),
    /// Left-aligned; never wrapped: for text that is always as long.
    Fixed(&'static str),
    /// Left-aligned; wrapped if there is no room.
    Text(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Column::Number(title) | Column::Fixed(title) | Column::Text(title) => title,
        }
    }
}

/// Rows under titled columns.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: a cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells.map(|cell| printable(&cell)).into());
    }

    /// The table as lines, each indented by `indent` and at most `width` long, without trailing blanks.
    pub fn render(&self, indent: usize, width: usize) -> String {
        let widths = self.widths(width.saturating_sub(indent));
        let mut text = String::new();
        let titles: Vec<String> = self.columns.iter().map(|column| column.title().to_owned()).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let cells: Vec<Vec<&str>> =
                row.iter().zip(&widths).map(|(cell, &width)| wrap(cell, width)).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for line_index in 0..height {
                let mut line = " ".repeat(indent);
                for (index, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
                    if index > 0 {
                        line.push_str(GAP);
                    }
                    let part = cell.get(line_index).copied().unwrap_or("");
                    match self.columns[index] {
                        Column::Number(_) => line.push_str(&format!("{part:>width$}")),
                        Column::Fixed(_) | Column::Text(_) => line.push_str(&format!("{part:<width$}")),
                    }
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }

    /// The columns' widths: what they need, less what must be saved, taken from the widest text column first.
    fn widths(&self, line: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|index| {
                let cells = self.rows.iter().map(|row| row[index].chars().count());
                cells.max().unwrap_or(0).max(self.columns[index].title().len())
            })
            .collect();
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > line {
            let widest = (0..widths.len())
                .filter(|&index| matches!(self.columns[index], Column::Text(_)))
                .filter(|&index| widths[index] > TEXT_WIDTH_MIN)
                .max_by_key(|&index| widths[index]);
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
        }
        widths
    }
}

/// `text` without what would drive a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Cuts `text` into parts of at most `width` characters: after the last comma or blank that leaves a part at
/// least a third full, otherwise wherever the width ends.
pub fn wrap(text: &str, width: usize) -> Vec<&str> {
    let width = width.max(1);
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        // Where the part would end if it were as long as it may be.
        let Some((limit, _)) = rest.char_indices().nth(width) else {
            parts.push(rest);
            return parts;
        };
        // A blank just behind the part needs no room in it.
        let window = &rest[..limit];
        let end = if rest[limit..].starts_with(' ') {
            limit
        } else {
            let good = window.rfind([',', ' ']).map(|at| at + 1);
            good.filter(|&at| window[..at].chars().count() * 3 >= width).unwrap_or(limit)
        };
        parts.push(rest[..end].trim_end_matches(' '));
        rest = rest[end..].trim_start_matches(' ');
        if rest.is_empty() {
            return parts;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_right_aligned_and_text_wraps_where_it_may() {
        let mut table = Table::new(&[Column::Text("NAME"), Column::Number("N"), Column::Text("RULE")]);
        table.row(["a".into(), "5".into(), "tcp,nw_src=10.0.0.1 actions=drop".into()]);
        table.row(["long-name".into(), "12345".into(), String::new()]);
        let expected = [
            "  NAME           N  RULE\n",
            "  a              5  tcp,nw_src=10.0.0.1\n",
            "                    actions=drop\n",
            "  long-name  12345\n",
        ];
        assert_eq!(table.render(2, 40), expected.concat());
    }

    #[test]
    fn a_name_that_drives_the_terminal_is_disarmed() {
        let mut table = Table::new(&[Column::Text("NAME")]);
        table.row(["\u{1b}[2Jx\u{9b}y\n".into()]);
        assert_eq!(table.render(0, 80), "NAME\n?[2Jx?y?\n");
    }

    #[test]
    fn wrapping_loses_nothing_but_blanks_and_keeps_the_width() {
        for seed in 0..2000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let text: String = (0..random.usize(0..120))
                .map(|_| *random.choice(&['a', 'b', ',', ' ', '=', 'é', '漢']).expect("not empty"))
                .collect();
            let width = random.usize(1..30);
            let parts = wrap(&text, width);
            assert!(parts.iter().all(|part| part.chars().count() <= width), "seed {seed}: {parts:?}");
            let joined: String = parts.concat().split(' ').collect();
            assert_eq!(joined, text.split(' ').collect::<String>(), "seed {seed}");
        }
    }
}
