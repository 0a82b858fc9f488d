//! Why a fault could not be resolved: facts from the records, and what they look like.

use crate::{
    event::{Cause, Diagnosis, End, HandlersOwn, Span},
    region::{Area, Around, Region, area_of},
    symbols::{Image, Location},
};
use protocol::{
    PAGE_SIZE,
    error::IpcError,
    fault::Access,
    flexpage::{KERNEL_PORTS, Rights},
    introspection::record::Unresolved,
    layout::STACK_BASE,
};

/// How far below the stack an access still looks like its overflow.
const OVERFLOW_REACH: u64 = 64 * 1024;

/// What the rest of the crate knows about the task.
pub(crate) struct Facts<'a> {
    pub(crate) image: Option<&'a Image>,
    /// The word at the stack pointer.
    pub(crate) return_address: Option<u64>,
    /// What is mapped next to the address of a page fault.
    pub(crate) around: Option<Around>,
}

/// Whether a span ended so badly that people will ask why.
pub(crate) fn is_needed(span: &Span) -> bool {
    let is_exception = matches!(span.cause, Cause::Exception { .. });
    let asks_why = is_exception || !span.handlers_own.waits.is_empty();
    matches!(span.end, End::Unresolved { .. }) || asks_why && span.end == End::Open
}

/// Puts the facts together.
pub(crate) fn diagnose(span: &Span, facts: Facts<'_>) -> Diagnosis {
    Diagnosis { caller: caller(span, &facts), hint: hint(span, &facts), around: facts.around }
}

/// The word at the stack pointer is a return address only right after a call: that is so if the
/// instruction pointer has left all code and the word leads back into it.
fn caller(span: &Span, facts: &Facts<'_>) -> Option<Location> {
    let instruction = span.code.as_ref()?.address;
    let (image, return_address) = (facts.image?, facts.return_address?);
    let after_call = return_address.checked_sub(1)?;
    let leads_back = !image.has_code_at(instruction) && image.has_code_at(after_call);
    leads_back.then(|| image.locate_call(return_address))
}

fn hint(span: &Span, facts: &Facts<'_>) -> Option<String> {
    if let End::Unresolved { reason: Unresolved::ReplyLost | Unresolved::NoPager, .. } | End::Open =
        span.end
        && let Some(hint) = hint_at_handler(span)
    {
        return Some(hint);
    }
    match span.cause {
        Cause::Fault { address, access, area } => {
            let by_reason = match span.end {
                End::Unresolved { reason, answer, .. } => {
                    hint_at_reason(reason, answer, &span.handler.name)
                }
                _ => None,
            };
            by_reason.or_else(|| match access.contains(Access::PORT) {
                true => Some(hint_at_port(address)),
                false => hint_at_access(address, seen(span, address, access), area, facts),
            })
        }
        Cause::Exception { vector, .. } => hint_at_exception(vector).map(str::to_owned),
        Cause::Unresolved | Cause::Lost => None,
    }
}

/// What was the matter with the handler itself.
fn hint_at_handler(span: &Span) -> Option<String> {
    let (handler, HandlersOwn { waits, is_circle, failed }) = (&span.handler, &span.handlers_own);
    if *is_circle {
        return Some(
            "a circle: each of them waits for the next one, until somebody ends one".to_owned(),
        );
    }
    if let Some(next) = waits.first() {
        return Some(format!(
            "{handler} itself waits for {next}, with a fault or exception of its own"
        ));
    }
    if *failed {
        return Some(format!(
            "{handler} has come to a fault of its own that nobody resolved: see there"
        ));
    }
    let has_ended = matches!(span.end, End::Unresolved { reason: Unresolved::NoPager, .. });
    (has_ended && !handler.is_kernel())
        .then(|| format!("{handler} has ended, or was stopped, before it took the message"))
}

/// An access at the very address of its instruction fetched that instruction, also where the
/// processor does not say so.
fn seen(span: &Span, address: u64, access: Access) -> Access {
    let is_fetch = span.code.as_ref().is_some_and(|code| code.address == address);
    if is_fetch { access | Access::EXECUTE } else { access }
}

/// What the pager or the one who set it up did wrong.
fn hint_at_reason(reason: Unresolved, answer: u64, pager: &str) -> Option<String> {
    Some(match reason {
        Unresolved::Refused => return None,
        Unresolved::OutsideUserArea => {
            "the address is outside the user area (0 to 3 GiB): no pager can map it".to_owned()
        }
        Unresolved::NoPager => {
            "set a pager with the thread's control operation before the thread starts".to_owned()
        }
        Unresolved::ReplyLost => {
            format!(
                "{pager} must answer every page fault before it waits for the next message, or ends"
            )
        }
        Unresolved::NoProgress => {
            format!(
                "{pager} must map the faulting page, with the right that is missing, and must have \
                 touched it before: a pager can only pass on what it has"
            )
        }
        Unresolved::MapFailed if answer == IpcError::WindowOverflow as u64 => {
            format!(
                "{pager} sent an item that is malformed: check its send base, order and address"
            )
        }
        Unresolved::MapFailed if answer == IpcError::TooDeep as u64 => {
            format!("{pager} must map something that fewer have handed on before it")
        }
        Unresolved::MapFailed => "the kernel has no memory left for page tables".to_owned(),
    })
}

fn hint_at_port(port: u64) -> String {
    match u16::try_from(port).is_ok_and(|port| KERNEL_PORTS.contains(&port)) {
        true => format!("the kernel keeps port {port:#x} for itself"),
        false => {
            format!(
                "a program gets ports from its pager, or by ports = [\"{port:#x}\"] in its scenario"
            )
        }
    }
}

/// What the program did wrong.
fn hint_at_access(
    address: u64,
    access: Access,
    area: Option<Area>,
    facts: &Facts<'_>,
) -> Option<String> {
    let inside = facts.around.as_ref().and_then(|around| around.inside.as_ref());
    let missing = inside.and_then(|region| missing_right(access, region));
    if address < PAGE_SIZE as u64 {
        let what = if access.contains(Access::EXECUTE) {
            "a null function pointer"
        } else {
            "a null pointer"
        };
        return Some(format!("an address below 0x1000 looks like {what}"));
    }
    if let Some(missing) = missing {
        return Some(missing);
    }
    if access.contains(Access::WRITE) && matches!(area, Some(Area::Text | Area::Rodata)) {
        return Some("the program writes to its own code or constants".to_owned());
    }
    if access.contains(Access::EXECUTE) && area.is_some_and(|area| area != Area::Text) {
        return Some("the program executes memory that is not code".to_owned());
    }
    let has_stack = area_of(facts.image, STACK_BASE as u64) == Some(Area::Stack);
    if has_stack && (STACK_BASE as u64 - OVERFLOW_REACH..STACK_BASE as u64).contains(&address) {
        return Some("just below the stack: the stack is full".to_owned());
    }
    None
}

fn missing_right(access: Access, region: &Region) -> Option<String> {
    let (verb, right) = match access.letter() {
        'X' => ("execute", Rights::EXECUTE),
        'W' => ("write", Rights::WRITE),
        _ => return None,
    };
    if region.rights.contains(right) {
        return None;
    }
    let letters = region.rights.letters();
    Some(format!("the page is mapped {}: no right to {verb}", String::from_utf8_lossy(&letters)))
}

fn hint_at_exception(vector: u8) -> Option<&'static str> {
    Some(match vector {
        0 => "a division by zero, or a quotient that does not fit",
        6 => "an instruction that the processor does not know; Rust ends impossible code with ud2",
        7 => "the program uses the floating point unit, which the kernel has not enabled",
        13 => {
            "a privileged instruction, an address that is not canonical, or an access beyond the \
             last I/O port"
        }
        17 => "an access that is not aligned",
        _ => return None,
    })
}
