//! Guest memory of which only few words are not zero, and a short way to write how it is changed.

use observe::{GuestMemory, OutsideMemory};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian as le};

/// Bytes of a frame.
const FRAME: u64 = 4096;

/// The most words that one input changes.
const MOST_WORDS: usize = 1 << 16;

type Frame = [u8; FRAME as usize];

/// The memory of a guest that has run: see `examples/memory.rs`.
#[derive(Debug)]
pub struct Recorded {
    /// Physical address of the kernel's introspection header.
    pub header: u64,
    memory: Memory,
    /// The addresses of all words that are not zero.
    words: Vec<u64>,
}

/// One recording for each architecture.
pub static RECORDED: LazyLock<[Recorded; 2]> = LazyLock::new(|| {
    [
        Recorded::read(include_bytes!("../memory/amd64")),
        Recorded::read(include_bytes!("../memory/ia32")),
    ]
});

impl Recorded {
    /// Reads a recording: where the header is, bytes of RAM, and then runs of words, each behind its
    /// address and length. All are numbers of 64 bits.
    fn read(file: &[u8]) -> Self {
        let mut numbers = file.chunks_exact(8).map(|bytes| {
            let bytes = bytes.try_into().expect("chunks have eight bytes");
            u64::from_le_bytes(bytes)
        });
        let mut number = || numbers.next();
        let [header, size] = [number(), number()].map(|number| number.expect("a whole recording"));
        let mut memory = Memory { size, frames: BTreeMap::new() };
        let mut words = Vec::new();
        while let (Some(start), Some(length)) = (number(), number()) {
            for address in (start..start + length * 8).step_by(8) {
                memory.set(address, number().expect("a whole recording"));
                words.push(address);
            }
        }
        Self { header, memory, words }
    }

    /// The bytes that [`Self::read`] reads.
    pub fn write(header: u64, size: u64, words: &BTreeMap<u64, u64>) -> Vec<u8> {
        let mut numbers = vec![header, size];
        let mut words = words.iter().peekable();
        while let Some((start, first)) = words.next() {
            let mut run = vec![*first];
            while let Some((_, value)) =
                words.next_if(|(address, _)| **address == start + run.len() as u64 * 8)
            {
                run.push(*value);
            }
            numbers.extend([*start, run.len() as u64]);
            numbers.extend(run);
        }
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// A copy of the memory.
    pub fn memory(&self) -> Memory {
        self.memory.clone()
    }

    /// The place of the word at `address`, as steps name it.
    pub fn place(&self, address: u64) -> u32 {
        match self.words.binary_search(&address) {
            Ok(index) => index as u32,
            Err(_) => any_place(address),
        }
    }

    /// The address of a place. Where `place` says that, it is any word of the memory; else it is one
    /// that was not zero, which tables, nodes, records and what else there is are made of.
    fn address(&self, place: u32) -> u64 {
        match place & ANY_WORD {
            0 => self.words[place as usize % self.words.len()],
            _ => u64::from(place & !ANY_WORD) * 8 % self.memory.size,
        }
    }
}

const ANY_WORD: u32 = 1 << 31;

/// The place of any word of memory.
pub const fn any_place(address: u64) -> u32 {
    (address / 8) as u32 | ANY_WORD
}

/// Memory from address 0 on.
#[derive(Clone, Debug)]
pub struct Memory {
    size: u64,
    frames: BTreeMap<u64, Arc<Frame>>,
}

impl Memory {
    fn frame(&self, address: u64) -> &Frame {
        static ZEROS: Frame = [0; FRAME as usize];
        self.frames.get(&(address / FRAME)).map_or(&ZEROS, |frame| frame)
    }

    fn word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        // Behind the end there is nothing.
        let _ = self.read(address, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Writes an aligned word, if it lies in memory.
    fn set(&mut self, address: u64, value: u64) {
        if address < self.size {
            let frame = self.frames.entry(address / FRAME);
            let frame = Arc::make_mut(frame.or_insert_with(|| Arc::new([0; FRAME as usize])));
            frame[(address % FRAME) as usize..][..8].copy_from_slice(&value.to_le_bytes());
        }
    }
}

impl GuestMemory for Memory {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: bytes.len() };
        let end = address.checked_add(bytes.len() as u64).ok_or(outside)?;
        if end > self.size {
            return Err(outside);
        }
        let (mut at, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let from = &self.frame(at)[(at % FRAME) as usize..];
            let (now, later) = rest.split_at_mut(from.len().min(rest.len()));
            now.copy_from_slice(&from[..now.len()]);
            (at, rest) = (at + now.len() as u64, later);
        }
        Ok(())
    }
}

/// One change of memory, or a look at it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Step {
    /// A [`Kind`].
    pub kind: u8,
    /// Binary logarithm of the words from one that is changed to the next.
    pub stride: u8,
    /// One less than how many words, or frames, are changed.
    pub more: le::U16,
    /// See [`Recorded::place`].
    pub place: le::U32,
    /// Depends on the kind.
    pub value: le::U64,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Nothing to the memory: it is looked at.
    Look,
    /// Writes the value.
    Write,
    /// Writes the value, then one that is greater by a page, and so on: entries of a page table.
    WritePages,
    /// Writes the value, then one whose two halves are greater by one, and so on: links of nodes.
    WriteLinks,
    /// Writes what stands at the place `value`, and behind it.
    Copy,
    /// Adds the value.
    Add,
    /// Flips the bits of the value.
    Flip,
    /// The frames are the same as the one with the place `value`.
    Alias,
}

const KINDS: [Kind; 8] = [
    Kind::Look,
    Kind::Write,
    Kind::WritePages,
    Kind::WriteLinks,
    Kind::Copy,
    Kind::Add,
    Kind::Flip,
    Kind::Alias,
];

/// Memory that an input changes step by step.
#[derive(Debug)]
pub struct Changing<'i> {
    /// What it was in the beginning.
    pub recorded: &'static Recorded,
    /// What it is now.
    pub memory: Memory,
    /// A small number, for who has to choose something.
    pub choice: usize,
    steps: &'i [Step],
    words_left: usize,
}

impl<'i> Changing<'i> {
    /// The first byte of the input says which recording, and what to choose; the others are steps.
    pub fn new(input: &'i [u8]) -> Option<Self> {
        let (which, steps) = input.split_first()?;
        let recorded = &RECORDED[usize::from(which % 2)];
        let (memory, choice) = (recorded.memory(), usize::from(which / 2));
        let count = steps.len() / size_of::<Step>();
        let (steps, _rest) = <[Step]>::ref_from_prefix_with_elems(steps, count).ok()?;
        Some(Self { recorded, memory, choice, steps, words_left: MOST_WORDS })
    }

    /// Changes the memory up to where it is to be looked at. `false` if there is nothing to change.
    pub fn change(&mut self) -> bool {
        let any = !self.steps.is_empty();
        while let Some((step, rest)) = self.steps.split_first() {
            self.steps = rest;
            match KINDS[usize::from(step.kind) % KINDS.len()] {
                Kind::Look => break,
                Kind::Alias => self.alias(step),
                kind => self.words(kind, step),
            }
        }
        any
    }

    fn alias(&mut self, step: &Step) {
        let source = self.recorded.address(step.value.get() as u32);
        let frame = Arc::new(*self.memory.frame(source));
        let first = self.recorded.address(step.place.get()) / FRAME;
        let end = (first + u64::from(step.more.get())).min(self.memory.size / FRAME - 1);
        for number in first..=end {
            self.memory.frames.insert(number, Arc::clone(&frame));
        }
    }

    fn words(&mut self, kind: Kind, step: &Step) {
        let count = (usize::from(step.more.get()) + 1).min(self.words_left);
        self.words_left -= count;
        let (mut address, mut value) = (self.recorded.address(step.place.get()), step.value.get());
        let stride = 8 << (step.stride % 16);
        let mut source = self.recorded.address(value as u32);
        for _ in 0..count {
            let old = self.memory.word(address);
            let new = match kind {
                Kind::Copy => self.memory.word(source),
                Kind::Add => old.wrapping_add(value),
                Kind::Flip => old ^ value,
                _ => value,
            };
            self.memory.set(address, new);
            (address, source) = (address + stride, source + stride);
            value = value.wrapping_add(match kind {
                Kind::WritePages => FRAME,
                Kind::WriteLinks => 1 << 32 | 1,
                _ => 0,
            });
        }
    }
}
