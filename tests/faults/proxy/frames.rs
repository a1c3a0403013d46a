//! The messages that a client sends to Postgres, as far as the proxy must know them.

/// The text of a simple query that ends a transaction, as the driver writes it.
const COMMIT: &[u8] = b"COMMIT\0";

/// The beginning of a read-only transaction.
const READ_ONLY: &[u8] = b"BEGIN READ ONLY";

/// The number of bytes of a query that are compared: more than either text has.
const LOOK: usize = 16;

/// The bytes before the content of a message: one for its kind, four for its length.
const HEADER: usize = 5;

/// A client's half of a connection, split into messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The first message has no kind.
    greeted: bool,
    /// The beginning of the current message.
    head: Vec<u8>,
    /// Its total length, once known, and how much of it has come.
    length: Option<usize>,
    seen: usize,
    reads_only: bool,
}

impl Frames {
    /// Takes the next bytes. If they contain the end of a message that commits a transaction which
    /// may have written, returns the number of bytes up to there.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut found = None;
        for (place, byte) in bytes.iter().enumerate() {
            if self.take(*byte) && found.is_none() {
                found = Some(place + 1);
            }
        }
        found
    }

    /// Whether this byte is the last one of such a message.
    fn take(&mut self, byte: u8) -> bool {
        let header = if self.greeted { HEADER } else { HEADER - 1 };
        if self.head.len() < header + LOOK {
            self.head.push(byte);
        }
        self.seen += 1;
        if self.seen == header {
            let length = self.head.last_chunk::<4>().expect("a header");
            // The length includes itself, but not the kind.
            self.length = Some(u32::from_be_bytes(*length) as usize + header - 4);
        }
        if self.length != Some(self.seen) {
            return false;
        }
        let is_query = self.greeted && self.head[0] == b'Q';
        let text = &self.head[header..];
        let commits = is_query && text == COMMIT && !self.reads_only;
        if is_query && text.starts_with(b"BEGIN") {
            self.reads_only = text.starts_with(READ_ONLY);
        }
        self.greeted = true;
        self.head.clear();
        self.length = None;
        self.seen = 0;
        commits
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;

    fn startup() -> Vec<u8> {
        let contents = b"\0\x03\0\0user\0crm\0\0";
        [&u32::try_from(contents.len() + 4).expect("small").to_be_bytes()[..], contents].concat()
    }

    fn message(kind: u8, contents: &[u8]) -> Vec<u8> {
        [&[kind], &u32::try_from(contents.len() + 4).expect("small").to_be_bytes()[..], contents].concat()
    }

    fn writes() -> Vec<u8> {
        let begin = message(b'Q', b"BEGIN READ WRITE; SET LOCAL ROLE crm_app\0");
        // A piece of text that looks like a COMMIT.
        let bind = message(b'B', b"Q\0\0\0\x0bCOMMIT\0");
        [begin, bind, message(b'S', b"")].concat()
    }

    #[test]
    fn a_commit_is_found_behind_other_messages_in_the_same_bytes() {
        let mut frames = Frames::default();
        let bytes = [startup(), writes(), message(b'Q', b"COMMIT\0")].concat();
        assert_eq!(frames.feed(&[&bytes[..], &writes()].concat()), Some(bytes.len()));
    }

    #[test]
    fn a_commit_is_found_however_its_bytes_come() {
        let mut frames = Frames::default();
        let bytes = [startup(), writes(), message(b'Q', b"COMMIT\0"), writes()].concat();
        let end = bytes.len() - writes().len();
        let found: Vec<usize> = bytes
            .iter()
            .enumerate()
            .filter_map(|(place, byte)| frames.feed(&[*byte]).map(|_| place))
            .collect();
        assert_eq!(found, [end - 1]);
    }

    #[test]
    fn what_only_read_is_not_found_and_neither_is_a_rollback() {
        let mut frames = Frames::default();
        let reads = message(b'Q', b"BEGIN READ ONLY; SET LOCAL ROLE crm_app\0");
        let bytes = [startup(), reads, message(b'Q', b"COMMIT\0"), writes(), message(b'Q', b"ROLLBACK\0")];
        assert_eq!(frames.feed(&bytes.concat()), None);
        assert!(frames.feed(&[writes(), message(b'Q', b"COMMIT\0")].concat()).is_some());
    }
}
