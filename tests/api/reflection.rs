//! Reflection answers every question, also invalid ones, and continues.

use prost::Message;
use prost_reflect::DescriptorPool;
use tonic::Code;
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::raw::CONTRACT;
use crate::support::{Crm, soon};

/// Asks all of these on one stream, in one version, and returns the answers.
macro_rules! ask {
    ($version:ident, $crm:expr, $questions:expr) => {{
        use $version::server_reflection_request::MessageRequest;
        let questions: Vec<Option<MessageRequest>> = $questions;
        let requests: Vec<_> = questions
            .iter()
            .map(|question| $version::ServerReflectionRequest {
                host: "here".to_owned(),
                message_request: question.clone(),
            })
            .collect();
        let mut client = $version::server_reflection_client::ServerReflectionClient::new($crm.channel());
        let stream = tokio_stream::iter(requests.clone());
        let mut answers = client.server_reflection_info(stream).await.expect("a stream").into_inner();
        let mut said = Vec::new();
        for request in requests {
            let answer = soon(answers.message()).await.expect("no error").expect("an answer to each");
            assert_eq!(answer.original_request, Some(request));
            assert_eq!(answer.valid_host, "here");
            said.push(answer.message_response.expect("an answer"));
        }
        assert!(soon(answers.message()).await.expect("no error").is_none(), "it ends with the questions");
        said
    }};
}

macro_rules! version {
    ($version:ident, $crm:expr) => {{
        use $version::ExtensionRequest;
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;
        let (of, methods) = ("google.protobuf.MethodOptions", "google.protobuf.NoSuch");
        let extension = |containing_type: &str, extension_number| {
            let containing_type = containing_type.to_owned();
            Some(MessageRequest::FileContainingExtension(ExtensionRequest {
                containing_type,
                extension_number,
            }))
        };
        let access = CONTRACT.get_extension_by_name("crm.v1.access").expect("there").number();
        let access = i32::try_from(access).expect("a number");
        let said = ask!(
            $version,
            $crm,
            vec![
                Some(MessageRequest::FileContainingSymbol("crm.v1.NoSuch".to_owned())),
                Some(MessageRequest::FileByFilename("no/such.proto".to_owned())),
                extension(of, 1),
                extension(of, -1),
                extension(methods, access),
                Some(MessageRequest::AllExtensionNumbersOfType(methods.to_owned())),
                None,
                Some(MessageRequest::AllExtensionNumbersOfType(of.to_owned())),
                extension(of, access),
                Some(MessageRequest::FileContainingSymbol("crm.v1.CustomerService.GetCustomer".to_owned())),
                Some(MessageRequest::FileContainingSymbol("crm.v1.Customer.email".to_owned())),
                Some(MessageRequest::FileContainingSymbol("crm.v1.MODALITY_TEXT".to_owned())),
                Some(MessageRequest::FileByFilename("crm/v1/customers.proto".to_owned())),
                Some(MessageRequest::ListServices("anything".to_owned())),
            ]
        );
        let errors = said.iter().map_while(|answer| match answer {
            MessageResponse::ErrorResponse(error) => Some(Code::from(error.error_code)),
            _ => None,
        });
        let mut expected = vec![Code::NotFound; 6];
        expected.push(Code::InvalidArgument);
        assert_eq!(errors.collect::<Vec<_>>(), expected);
        let MessageResponse::AllExtensionNumbersResponse(numbers) = &said[7] else { panic!("{:?}", said[7]) };
        assert!(numbers.base_type_name == of && numbers.extension_number.contains(&access), "{numbers:?}");
        for (answer, name) in said[8..13].iter().zip([
            "crm/v1/access.proto",
            "crm/v1/customer_service.proto",
            "crm/v1/customers.proto",
            "crm/v1/conversations.proto",
            "crm/v1/customers.proto",
        ]) {
            let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
            let file = prost_types::FileDescriptorProto::decode(&files.file_descriptor_proto[0][..]);
            assert_eq!(file.expect("a file").name(), name);
        }
        let MessageResponse::ListServicesResponse(list) = &said[13] else { panic!("{:?}", said[13]) };
        let names = list.service.iter().map(|service| service.name.clone()).collect::<Vec<_>>();
        for service in ["crm.v1.CustomerService", "grpc.health.v1.Health"] {
            assert!(names.iter().any(|name| name == service), "{names:?}");
        }
        // The served files are complete: options with extensions included.
        let mut pool = DescriptorPool::new();
        let mut files = CONTRACT.files().map(|file| file.name().to_owned()).collect::<Vec<_>>();
        while !files.is_empty() {
            let asked = files.iter().cloned().map(MessageRequest::FileByFilename).map(Some).collect();
            let answers = ask!($version, $crm, asked);
            let mut set = prost_types::FileDescriptorSet::default().encode_to_vec();
            for answer in answers {
                let MessageResponse::FileDescriptorResponse(file) = answer else { panic!("{answer:?}") };
                // Field 1 of a FileDescriptorSet.
                prost::encoding::bytes::encode(1, &file.file_descriptor_proto[0], &mut set);
            }
            pool.decode_file_descriptor_set(&set[..]).expect("all files");
            files.clear();
        }
        let access = pool.get_extension_by_name("crm.v1.access").expect("there");
        let service = pool.get_service_by_name("crm.v1.CustomerService").expect("there");
        assert!(service.methods().all(|method| method.options().has_extension(&access)));
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_an_answer_and_the_next_question_is_answered() {
    let crm = Crm::start().await;
    version!(v1, crm);
    version!(v1alpha, crm);
}
