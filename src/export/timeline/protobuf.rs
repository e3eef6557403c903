//! A writer of protocol buffers (<https://protobuf.dev/programming-guides/encoding/>): varints, 64-bit numbers, bytes, and nested messages.
#![forbid(unsafe_code)]

/// A message that is being written.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Empties the message and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number, a boolean or a value of an enumeration.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        self.raw(u64::from(field) << 3);
        self.raw(value);
    }

    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.raw(u64::from(field) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A text, or bytes.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.raw(u64::from(field) << 3 | 2);
        self.raw(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message inside this one.
    pub(super) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Message)) {
        self.raw(u64::from(field) << 3 | 2);
        let at = self.0.len();
        fill(self);
        // Its length is known only now and goes before it.
        let length = self.0.len() - at;
        self.raw(length as u64);
        let digits = self.0.len() - at - length;
        self.0[at..].rotate_right(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the encoding's own page.
    #[test]
    fn as_the_specification_has_it() {
        let mut message = Message::default();
        message.number(1, 150);
        assert_eq!(message.as_bytes(), [0x08, 0x96, 0x01]);
        message.clear();
        message.bytes(2, b"testing");
        assert_eq!(message.as_bytes(), [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        message.clear();
        message.message(3, |inner| inner.number(1, 150));
        assert_eq!(message.as_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        message.clear();
        message.message(3, |inner| inner.bytes(1, &[7; 200]));
        assert_eq!(message.as_bytes()[..6], [0x1a, 0xcb, 0x01, 0x0a, 0xc8, 0x01]);
        message.clear();
        message.fixed64(47, 1);
        assert_eq!(message.as_bytes(), [0xf9, 0x02, 1, 0, 0, 0, 0, 0, 0, 0]);
        message.clear();
        message.number(1, u64::MAX);
        assert_eq!(message.as_bytes().len(), 11);
    }
}
