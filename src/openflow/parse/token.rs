//! Pieces of the text that know where they stand, and the split into `key=value`, `key:value` and `key(value)`.

use super::error::{Allowed, ParseError};

/// A piece of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token<'a> {
    /// The piece.
    pub(super) text: &'a str,
    /// Bytes before it in the whole text.
    pub(super) offset: usize,
}

impl<'a> Token<'a> {
    /// The whole text.
    pub(super) fn whole(text: &'a str) -> Token<'a> {
        Token { text, offset: 0 }
    }

    /// What stands before and after the first `separator`.
    pub(super) fn split_once(self, separator: &str) -> Option<(Token<'a>, Token<'a>)> {
        let at = self.text.find(separator)?;
        Some((self.head(at), self.tail(at + separator.len())))
    }

    /// What stands before and after the first `separator` that is not between double quotes.
    pub(super) fn split_unquoted(self, separator: char) -> Option<(Token<'a>, Token<'a>)> {
        let (mut is_quoted, mut is_escaped) = (false, false);
        for (at, found) in self.text.char_indices() {
            match found {
                _ if is_escaped => is_escaped = false,
                '\\' if is_quoted => is_escaped = true,
                '"' => is_quoted = !is_quoted,
                _ if found == separator && !is_quoted => {
                    return Some((self.head(at), self.tail(at + separator.len_utf8())));
                }
                _ => {}
            }
        }
        None
    }

    /// The first `len` bytes; `len` is on a character's edge.
    pub(super) fn head(self, len: usize) -> Token<'a> {
        Token { text: &self.text[..len], ..self }
    }

    /// What follows the first `len` bytes; `len` is on a character's edge.
    pub(super) fn tail(self, len: usize) -> Token<'a> {
        Token { text: &self.text[len..], offset: self.offset + len }
    }

    /// Without white space around it.
    pub(super) fn trim(self) -> Token<'a> {
        let start = self.text.trim_start();
        Token { text: start.trim_end(), offset: self.offset + self.text.len() - start.len() }
    }

    /// The complaint that this is no value for `keyword`.
    pub(super) fn bad_value(self, keyword: &str, allowed: Allowed) -> ParseError {
        let (keyword, found) = (keyword.to_owned(), self.text.to_owned());
        ParseError::BadValue { offset: self.offset, keyword, found, allowed }
    }
}

/// How a key's value is attached to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// There is no value.
    Bare,
    /// `key=value`.
    Equals,
    /// `key:value`.
    Colon,
    /// `key(value)`.
    Parentheses,
}

/// A key and its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    /// The key; a name in double quotes keeps them.
    pub(super) key: Token<'a>,
    /// How the value is attached.
    pub(super) form: Form,
    /// The value; empty if bare.
    pub(super) value: Token<'a>,
}

impl<'a> Item<'a> {
    /// The key as a string to put into an error.
    pub(super) fn name(&self) -> String {
        self.key.text.to_owned()
    }

    /// Refuses a value.
    pub(super) fn expect_bare(&self) -> Result<(), ParseError> {
        if self.value.text.is_empty() {
            return Ok(());
        }
        let (keyword, found) = (self.name(), self.value.text.to_owned());
        Err(ParseError::UnexpectedValue { offset: self.value.offset, keyword, found })
    }
}

/// The items of a text, separated by commas and white space.
pub(super) struct Items<'a> {
    rest: Token<'a>,
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n')
}

impl<'a> Items<'a> {
    pub(super) fn of(text: Token<'a>) -> Items<'a> {
        Items { rest: text }
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> Token<'a> {
        self.rest
    }

    /// The next key, without reading its value: [`Items::value`] does.
    pub(super) fn key(&mut self) -> Result<Option<Token<'a>>, ParseError> {
        let bytes = self.rest.text.as_bytes();
        let start = bytes.iter().take_while(|&&byte| is_separator(byte)).count();
        self.rest = self.rest.tail(start);
        if self.rest.text.is_empty() {
            return Ok(None);
        }
        let len = self.scan(|byte| is_separator(byte) || matches!(byte, b'=' | b':' | b'(' | b')'))?;
        // A lone `)` would otherwise be an empty key for ever.
        let len = if len == 0 && self.rest.text.starts_with(')') { 1 } else { len };
        Ok(Some(self.take(len)))
    }

    /// The value of the key just read.
    pub(super) fn value(&mut self) -> Result<(Form, Token<'a>), ParseError> {
        let form = match self.rest.text.as_bytes().first() {
            Some(b'=') => Form::Equals,
            Some(b':') => Form::Colon,
            Some(b'(') => return self.parenthesized(),
            _ => return Ok((Form::Bare, self.rest.head(0))),
        };
        self.take(1);
        let len = self.scan(is_separator)?;
        Ok((form, self.take(len)))
    }

    /// The next key with its value.
    pub(super) fn next(&mut self) -> Result<Option<Item<'a>>, ParseError> {
        let Some(key) = self.key()? else { return Ok(None) };
        let (form, value) = self.value()?;
        Ok(Some(Item { key, form, value }))
    }

    fn take(&mut self, len: usize) -> Token<'a> {
        let taken = self.rest.head(len);
        self.rest = self.rest.tail(len);
        taken
    }

    /// A value in parentheses, of which nothing but a separator may follow.
    fn parenthesized(&mut self) -> Result<(Form, Token<'a>), ParseError> {
        let len = self.scan(is_separator)?;
        let whole = self.take(len);
        let inner = Token { text: &whole.text[1..], offset: whole.offset + 1 };
        match inner.text.strip_suffix(')') {
            Some(text) => Ok((Form::Parentheses, Token { text, ..inner })),
            // `key(...)->more` and the like: the whole is the value, for the action to refuse.
            None => Ok((Form::Parentheses, whole)),
        }
    }

    /// Bytes up to the first that `ends`, outside of double quotes and parentheses.
    fn scan(&self, ends: impl Fn(u8) -> bool) -> Result<usize, ParseError> {
        let bytes = self.rest.text.as_bytes();
        let mut open = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                byte if open.is_empty() && ends(byte) => break,
                b'"' => at = self.closing_quote(at)?,
                b'(' => open.push(at),
                b')' => drop(open.pop()),
                _ => {}
            }
            at += 1;
        }
        match open.last() {
            Some(&at) => Err(ParseError::Unclosed { offset: self.rest.offset + at, opening: '(' }),
            None => Ok(at),
        }
    }

    /// Where the double quote at `start` closes.
    fn closing_quote(&self, start: usize) -> Result<usize, ParseError> {
        let bytes = self.rest.text.as_bytes();
        let mut at = start + 1;
        loop {
            match bytes.get(at) {
                Some(b'"') => return Ok(at),
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
                None => return Err(ParseError::Unclosed { offset: self.rest.offset + start, opening: '"' }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<(&str, Form, &str)> {
        let mut items = Items::of(Token::whole(text));
        let mut all = Vec::new();
        while let Some(item) = items.next().unwrap() {
            assert_eq!(&text[item.key.offset..][..item.key.text.len()], item.key.text);
            assert_eq!(&text[item.value.offset..][..item.value.text.len()], item.value.text);
            all.push((item.key.text, item.form, item.value.text));
        }
        all
    }

    #[test]
    fn a_text_is_split_at_commas_and_space_outside_of_parentheses_and_quotes() {
        assert_eq!(
            items(" a=1,b:2 c(d(3),e) ,, \"x, y\",f=\"g,\\\" \"h"),
            [
                ("a", Form::Equals, "1"),
                ("b", Form::Colon, "2"),
                ("c", Form::Parentheses, "d(3),e"),
                ("\"x, y\"", Form::Bare, ""),
                ("f", Form::Equals, "\"g,\\\" \"h"),
            ]
        );
    }

    #[test]
    fn what_is_never_closed_is_told_where_it_opened() {
        let error = |text| Items::of(Token::whole(text)).next().unwrap_err();
        assert_eq!(error("a(b(c)"), ParseError::Unclosed { offset: 1, opening: '(' });
        assert_eq!(error("a=\"b\\\""), ParseError::Unclosed { offset: 2, opening: '"' });
    }

    #[test]
    fn stray_brackets_do_not_stop_the_split() {
        assert_eq!(
            items("),a)=1)"),
            [(")", Form::Bare, ""), ("a", Form::Bare, ""), (")", Form::Equals, "1)")]
        );
    }
}
