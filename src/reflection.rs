//! Reflection: the contract, for clients that do not have it. It serves both versions of the protocol with the same
//! answers.
//!
//! The implementation of tonic ends the stream at the first question that it cannot answer. The protocol has an
//! answer for that, `ErrorResponse`, after which clients can ask further questions.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use prost_reflect::{DescriptorError, DescriptorPool, FileDescriptor};
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming, async_trait};
use tonic_reflection::pb::{v1, v1alpha};

use crate::pb;

/// The reflected contracts. Implements the service in both versions of the protocol.
#[derive(Debug, Clone)]
pub(crate) struct Reflection(Arc<Catalog>);

#[derive(Debug)]
struct Catalog {
    pool: DescriptorPool,
    /// The file of every declared name.
    symbols: HashMap<String, FileDescriptor>,
}

/// A question, in any version of the protocol.
enum Question<'q> {
    File(&'q str),
    Symbol(&'q str),
    Extension { of: &'q str, number: i32 },
    Extensions { of: &'q str },
    Services,
    Unknown,
}

/// The answer to a question.
enum Answer {
    File(Vec<u8>),
    Extensions { of: String, numbers: Vec<i32> },
    Services(Vec<String>),
    Error(Code, &'static str),
}

impl Reflection {
    /// Creates the reflection of the contract, health and reflection itself.
    ///
    /// # Errors
    ///
    /// If their descriptors contradict each other.
    pub(crate) fn new() -> Result<Self, DescriptorError> {
        let mut pool = pb::CONTRACT.clone();
        for set in
            [tonic_health::pb::FILE_DESCRIPTOR_SET, v1::FILE_DESCRIPTOR_SET, v1alpha::FILE_DESCRIPTOR_SET]
        {
            pool.decode_file_descriptor_set(set)?;
        }
        let symbols = symbols(&pool);
        Ok(Self(Arc::new(Catalog { pool, symbols })))
    }
}

impl Catalog {
    fn answer(&self, question: Question<'_>) -> Answer {
        let file = |found: Option<FileDescriptor>, otherwise| match found {
            Some(file) => Answer::File(file.encode_to_vec()),
            None => Answer::Error(Code::NotFound, otherwise),
        };
        match question {
            Question::File(name) => file(self.pool.get_file_by_name(name), "no file has this name"),
            Question::Symbol(name) => {
                file(self.symbols.get(name).cloned(), "no service, method or type has this full name")
            }
            Question::Extension { of, number } => {
                let message = self.pool.get_message_by_name(of);
                let number = u32::try_from(number).ok();
                let extension =
                    message.zip(number).and_then(|(message, number)| message.get_extension(number));
                file(
                    extension.map(|extension| extension.parent_file()),
                    "no message of this name has an extension of this number",
                )
            }
            Question::Extensions { of } => match self.pool.get_message_by_name(of) {
                Some(message) => {
                    let numbers = message.extensions().map(|extension| extension.number().cast_signed());
                    Answer::Extensions { of: of.to_owned(), numbers: numbers.collect() }
                }
                None => Answer::Error(Code::NotFound, "no message has this full name"),
            },
            Question::Services => {
                let names = self.pool.services().map(|service| service.full_name().to_owned());
                Answer::Services(names.collect())
            }
            Question::Unknown => Answer::Error(
                Code::InvalidArgument,
                "ask for a file, a symbol, an extension, the extensions of a type, or the services",
            ),
        }
    }
}

/// Returns every declared name with its file.
fn symbols(pool: &DescriptorPool) -> HashMap<String, FileDescriptor> {
    let mut symbols = HashMap::new();
    let mut declare = |name: &str, file: FileDescriptor| {
        symbols.insert(name.to_owned(), file);
    };
    for message in pool.all_messages() {
        declare(message.full_name(), message.parent_file());
        message.fields().for_each(|field| declare(field.full_name(), message.parent_file()));
        message.oneofs().for_each(|oneof| declare(oneof.full_name(), message.parent_file()));
    }
    for kind in pool.all_enums() {
        declare(kind.full_name(), kind.parent_file());
        kind.values().for_each(|value| declare(value.full_name(), kind.parent_file()));
    }
    for service in pool.services() {
        declare(service.full_name(), service.parent_file());
        service.methods().for_each(|method| declare(method.full_name(), service.parent_file()));
    }
    for extension in pool.all_extensions() {
        declare(extension.full_name(), extension.parent_file());
    }
    symbols
}

/// Implements the service for one version of the protocol. The messages of both versions are the same, with different
/// types.
macro_rules! serve {
    ($version:ident) => {
        #[async_trait]
        impl $version::server_reflection_server::ServerReflection for Reflection {
            type ServerReflectionInfoStream =
                Pin<Box<dyn Stream<Item = Result<$version::ServerReflectionResponse, Status>> + Send>>;

            async fn server_reflection_info(
                &self,
                request: Request<Streaming<$version::ServerReflectionRequest>>,
            ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                use $version::server_reflection_request::MessageRequest;
                use $version::server_reflection_response::MessageResponse;

                let Self(catalog) = self.clone();
                let answer = move |asked: $version::ServerReflectionRequest| {
                    let question = match &asked.message_request {
                        Some(MessageRequest::FileByFilename(name)) => Question::File(name),
                        Some(MessageRequest::FileContainingSymbol(name)) => Question::Symbol(name),
                        Some(MessageRequest::FileContainingExtension(extension)) => Question::Extension {
                            of: &extension.containing_type,
                            number: extension.extension_number,
                        },
                        Some(MessageRequest::AllExtensionNumbersOfType(of)) => Question::Extensions { of },
                        Some(MessageRequest::ListServices(_)) => Question::Services,
                        None => Question::Unknown,
                    };
                    let answer = match catalog.answer(question) {
                        Answer::File(file) => {
                            let file_descriptor_proto = vec![file];
                            MessageResponse::FileDescriptorResponse($version::FileDescriptorResponse {
                                file_descriptor_proto,
                            })
                        }
                        Answer::Extensions { of, numbers } => {
                            MessageResponse::AllExtensionNumbersResponse($version::ExtensionNumberResponse {
                                base_type_name: of,
                                extension_number: numbers,
                            })
                        }
                        Answer::Services(names) => {
                            let service = names.into_iter().map(|name| $version::ServiceResponse { name });
                            MessageResponse::ListServicesResponse($version::ListServiceResponse {
                                service: service.collect(),
                            })
                        }
                        Answer::Error(code, message) => {
                            MessageResponse::ErrorResponse($version::ErrorResponse {
                                error_code: code.into(),
                                error_message: message.to_owned(),
                            })
                        }
                    };
                    $version::ServerReflectionResponse {
                        valid_host: asked.host.clone(),
                        original_request: Some(asked),
                        message_response: Some(answer),
                    }
                };
                let answers = request.into_inner().map(move |asked| asked.map(&answer));
                Ok(Response::new(Box::pin(answers)))
            }
        }
    };
}

serve!(v1);
serve!(v1alpha);
