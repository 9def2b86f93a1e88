//! The functions that clients call.

use super::Parser;
use crate::call::{INVALID_VALUE, PARSERS, Refusal, Status, UNKNOWN, alone, call};
use crate::raw::{Packet, ParserParameters};

/// # Safety
///
/// Pointers are null or to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuvidCreateVideoParser(
    parser: Option<&mut u64>,
    parameters: Option<&ParserParameters>,
) -> Status {
    call("cuvidCreateVideoParser", || {
        let (Some(parser), Some(parameters)) = (parser, parameters) else {
            return Err(Refusal::wrong(INVALID_VALUE, format_args!("a null pointer")));
        };
        *parser = PARSERS.add(Parser::new(parameters)?);
        Ok(())
    })
}

/// # Safety
///
/// Pointers are null or to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuvidParseVideoData(parser: u64, packet: Option<&Packet>) -> Status {
    call("cuvidParseVideoData", || {
        let parser = PARSERS.get(parser)?;
        let packet = packet.ok_or_else(|| Refusal::wrong(INVALID_VALUE, format_args!("no packet")))?;
        let in_use = || Refusal::wrong(UNKNOWN, format_args!("called from two threads, or from a callback"));
        alone(&parser, |parser| parser.parse(packet)).ok_or_else(in_use)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuvidDestroyVideoParser(parser: u64) -> Status {
    call("cuvidDestroyVideoParser", || PARSERS.remove(parser).map(drop))
}
