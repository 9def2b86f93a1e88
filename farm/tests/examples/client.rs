//! What grpcurl does: learns the methods by reflection, and speaks JSON.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::FileDescriptorProto;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// A connection and what the server says of itself.
pub struct Curl {
    channel: Channel,
    pool: DescriptorPool,
}

impl Curl {
    pub async fn connect(address: &str) -> Self {
        let channel = Channel::from_shared(address.to_owned()).unwrap().connect().await.unwrap();
        let mut files = Vec::new();
        let mut wanted = vec![MessageRequest::FileContainingSymbol("farm.v1.JobService".into())];
        while let Some(request) = wanted.pop() {
            for file in ask(&channel, request).await {
                wanted.extend(file.dependency.iter().cloned().map(MessageRequest::FileByFilename));
                files.push(file);
            }
        }
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files).unwrap();
        Self { channel, pool }
    }

    /// The answers, at most those of `limit`.
    pub async fn call(&mut self, method: &str, body: &str, limit: Duration) -> Result<Vec<Value>, Status> {
        let (service, name) = method.split_once('/').unwrap();
        let service = self.pool.get_service_by_name(service).unwrap();
        let described = service.methods().find(|known| known.name() == name).unwrap();
        let mut json = serde_json::Deserializer::from_str(body);
        let message = DynamicMessage::deserialize(described.input(), &mut json).unwrap();
        let mut bytes = Vec::new();
        prost::Message::encode(&message, &mut bytes).unwrap();
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path: PathAndQuery = format!("/{method}").parse().unwrap();
        let mut request = Request::new(tokio_stream::iter([Bytes::from(bytes)]));
        request.set_timeout(limit);
        let mut answers = grpc.streaming(request, path, Raw).await?.into_inner();
        let mut values = Vec::new();
        let read = async {
            while let Some(bytes) = answers.message().await? {
                let message = DynamicMessage::decode(described.output(), bytes).unwrap();
                values.push(message);
            }
            Ok::<_, Status>(())
        };
        // Some streams have no end.
        tokio::time::timeout(limit / 2, read).await.unwrap_or(Ok(()))?;
        let options = prost_reflect::SerializeOptions::new().use_proto_field_name(true);
        let json =
            |value: DynamicMessage| value.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
        Ok(values.into_iter().map(json).collect())
    }
}

async fn ask(channel: &Channel, request: MessageRequest) -> Vec<FileDescriptorProto> {
    let ask = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let mut client = ServerReflectionClient::new(channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    match answers.message().await.unwrap().unwrap().message_response {
        Some(MessageResponse::FileDescriptorResponse(files)) => {
            let files = files.file_descriptor_proto.iter();
            files.map(|bytes| prost::Message::decode(bytes.as_slice()).unwrap()).collect()
        }
        other => panic!("no description: {other:?}"),
    }
}

/// Messages as they are.
#[derive(Default, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}
