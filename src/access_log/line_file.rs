//! A file that only ever gets whole lines, even if its disk fills up at times.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
};

/// The destination of lines.
pub(super) trait Sink: Write {
    /// Removes the last `bytes` that were written.
    fn take_back(&mut self, bytes: u64) -> io::Result<()>;
}

impl Sink for File {
    fn take_back(&mut self, bytes: u64) -> io::Result<()> {
        // After a write, the position is the end of that write, even in append mode.
        let end = self.stream_position()?.saturating_sub(bytes);
        self.set_len(end)?;
        self.seek(SeekFrom::Start(end)).map(|_| ())
    }
}

/// Writes lines to a sink that may fail in the middle of a line.
pub(super) struct LineFile<S> {
    sink: S,
    /// Whether the sink ends in a partial line that could not be removed, such as in a pipe.
    is_torn: bool,
}

impl<S: Sink> LineFile<S> {
    pub(super) const fn new(sink: S) -> Self {
        Self { sink, is_torn: false }
    }

    /// Writes lines, each with its line feed. Returns the number lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        if self.is_torn && self.sink.write_all(b"\n").is_err() {
            return count(lines);
        }
        self.is_torn = false;
        let written = self.write_most(lines);
        let whole = lines[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let torn = (written - whole) as u64;
        self.is_torn = torn > 0 && self.sink.take_back(torn).is_err();
        count(&lines[whole..])
    }

    /// Writes as much as the sink accepts. Returns the number of bytes written.
    fn write_most(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.sink.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.split(|byte| *byte == b'\n').count() as u64 - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with limited room.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
        can_take_back: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room - self.bytes.len());
            self.bytes.extend_from_slice(&bytes[..fits]);
            if fits == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(fits) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Disk {
        fn take_back(&mut self, bytes: u64) -> io::Result<()> {
            if !self.can_take_back {
                return Err(io::ErrorKind::NotSeekable.into());
            }
            let end = self.bytes.len() - usize::try_from(bytes).expect("few");
            self.bytes.truncate(end);
            Ok(())
        }
    }

    fn written(can_take_back: bool) -> (Vec<u64>, String) {
        let mut file = LineFile::new(Disk { bytes: Vec::new(), room: 10, can_take_back });
        let mut lost = vec![file.write(b"one\ntwo\nthree\nfour\n"), file.write(b"x\n")];
        file.sink.room = 100;
        lost.push(file.write(b"five\n"));
        (lost, String::from_utf8(file.sink.bytes).expect("text"))
    }

    #[test]
    fn a_line_that_does_not_fit_leaves_nothing_behind() {
        assert_eq!(written(true), (vec![2, 0, 0], "one\ntwo\nx\nfive\n".to_owned()));
    }

    #[test]
    fn what_cannot_be_taken_back_gets_a_line_of_its_own() {
        assert_eq!(written(false), (vec![2, 1, 0], "one\ntwo\nth\nfive\n".to_owned()));
    }

    #[test]
    fn files_are_cut_where_the_last_whole_line_ends() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "before\n").expect("written");
        let mut file = File::options().append(true).open(&path).expect("opened");
        file.write_all(b"one\ntw").expect("written");
        file.take_back(2).expect("cut");
        file.write_all(b"two\n").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "before\none\ntwo\n");
    }
}
