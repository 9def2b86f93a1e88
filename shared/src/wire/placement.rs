//! `task.proto`: on what a chunk is made.

use proto::v1;

use super::{Wire, WireEnum, WireError, all_from_wire, all_to_wire, required, wire_enum};
use crate::placement::{DecodeBy, EncodeBy, Fallback, Hardware, Placement, ScaleBy, Stage};

wire_enum!(DecodeBy: Software, Nvdec);
wire_enum!(ScaleBy: Software, Cuda);
wire_enum!(EncodeBy: Software, Nvenc, FfmpegNvenc, PlainNvenc);
wire_enum!(Stage: Decode, Scale, Encode, Slot);

impl Wire for Placement {
    type Message = v1::Placement;

    fn to_wire(&self) -> v1::Placement {
        v1::Placement { decode: self.decode.code(), scale: self.scale.code(), encode: self.encode.code() }
    }

    fn from_wire(message: v1::Placement) -> Result<Self, WireError> {
        Ok(Self {
            decode: DecodeBy::from_code("decode", message.decode)?,
            scale: ScaleBy::from_code("scale", message.scale)?,
            encode: EncodeBy::from_code("encode", message.encode)?,
        })
    }
}

impl Wire for Fallback {
    type Message = v1::Fallback;

    fn to_wire(&self) -> v1::Fallback {
        v1::Fallback { stage: self.stage.code(), reason: self.reason.clone() }
    }

    fn from_wire(message: v1::Fallback) -> Result<Self, WireError> {
        Ok(Self::new(Stage::from_code("stage", message.stage)?, message.reason))
    }
}

impl Wire for Hardware {
    type Message = v1::Hardware;

    fn to_wire(&self) -> v1::Hardware {
        v1::Hardware {
            placement: Some(self.placement.to_wire()),
            gpu: self.gpu.clone(),
            fallbacks: all_to_wire(&self.fallbacks),
            uploaded_bytes: self.uploaded_bytes,
            downloaded_bytes: self.downloaded_bytes,
        }
    }

    fn from_wire(message: v1::Hardware) -> Result<Self, WireError> {
        Ok(Self {
            placement: required("placement", message.placement)?,
            gpu: message.gpu,
            fallbacks: all_from_wire("fallbacks", message.fallbacks)?,
            uploaded_bytes: message.uploaded_bytes,
            downloaded_bytes: message.downloaded_bytes,
        })
    }
}
