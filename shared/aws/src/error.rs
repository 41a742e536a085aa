//! Failures of the SDK as errors of ours. Decided by error codes, never by texts; and what is kept of a failure carries no
//! item and no message body: the SDK's own errors do, so they end here.

use std::fmt;

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use shared::{
    Error,
    error::{Kind, Retry},
};

/// What a log may know of a failed call.
#[derive(Debug)]
struct Failure {
    operation: &'static str,
    code: String,
    /// The service's own words, kept only for requests that it calls malformed: they name parameters, not contents.
    detail: Option<String>,
    request: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        match &self.request {
            Some(request) => write!(f, " (request {request})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// What a service error means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Throttled, in conflict with a transaction, or a fault on the other side.
    Temporary,
    /// Until somebody mends the deployment: no such table or queue, no permission, bad credentials.
    Persistent,
    /// Our request was malformed.
    Bug,
    /// The receipt is no longer valid: somebody else may hold the message by now.
    Lost,
}

fn classify(operation: &str, code: &str, status: u16) -> Class {
    match code {
        "ValidationException"
        | "SerializationException"
        | "ItemCollectionSizeLimitExceededException"
        | "IdempotentParameterMismatchException"
        | "InvalidMessageContents"
        | "InvalidAttributeName"
        | "InvalidAttributeValue"
        | "InvalidBatchEntryId"
        | "BatchEntryIdsNotDistinct"
        | "BatchRequestTooLong"
        | "EmptyBatchRequest"
        | "TooManyEntriesInBatchRequest"
        | "MissingParameter"
        | "UnsupportedOperation" => Class::Bug,
        "ReceiptHandleIsInvalid" | "MessageNotInflight" => Class::Lost,
        // FIFO queues say so of a receipt whose time is over.
        "InvalidParameterValue" if matches!(operation, "DeleteMessage" | "ChangeMessageVisibility") => Class::Lost,
        "InvalidParameterValue" => Class::Bug,
        "ResourceNotFoundException"
        | "QueueDoesNotExist"
        | "AWS.SimpleQueueService.NonExistentQueue"
        | "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "MissingAuthenticationToken" => Class::Persistent,
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestThrottled"
        | "RequestLimitExceeded"
        | "TransactionConflictException"
        | "TransactionInProgressException"
        | "ReplicatedWriteConflictException"
        | "LimitExceededException"
        | "ResourceInUseException"
        | "OverLimit" => Class::Temporary,
        _ if status == 429 || status >= 500 => Class::Temporary,
        _ => Class::Persistent,
    }
}

/// The error of a failed call of `operation`.
pub(crate) fn failure<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata,
{
    let plain = |code: &str| Failure { operation, code: code.into(), detail: None, request: None };
    match error {
        SdkError::ConstructionFailure(_) => Error::internal(plain("request could not be built")),
        SdkError::TimeoutError(_) => Error::unavailable(plain("timed out")),
        // The last: what the client itself knows to pass, a connection that ended before its answer.
        SdkError::DispatchFailure(dispatch)
            if dispatch.is_timeout() || dispatch.is_io() || dispatch.as_other().is_some() =>
        {
            Error::unavailable(plain("connection failed"))
        }
        // No credentials, no region, an address that is none.
        SdkError::DispatchFailure(_) => Error::unavailable(plain("could not be sent")).retry(Retry::Persistent),
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            let code = meta.code().unwrap_or("unknown").to_owned();
            let class = classify(operation, &code, service.raw().status().as_u16());
            let detail = meta.message().filter(|_| class == Class::Bug).map(|text| text.chars().take(200).collect());
            let failure = Failure { operation, code, detail, request: meta.request_id().map(str::to_owned) };
            match class {
                Class::Temporary => Error::unavailable(failure),
                Class::Persistent => Error::unavailable(failure).retry(Retry::Persistent),
                Class::Bug => Error::internal(failure),
                Class::Lost => lost().source(failure),
            }
        }
        SdkError::ResponseError(_) => Error::unavailable(plain("answer could not be read")),
        // The enum is open; a new kind of failure is one that may pass.
        _ => Error::unavailable(plain("failed")),
    }
}

/// The message is no longer held under this receipt.
pub(crate) fn lost() -> Error {
    Error::new(Kind::Gone, "RECEIPT_EXPIRED", "The message is no longer held under this receipt")
}

/// The code of a service error; `None` when the service did not answer.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_a_class_and_unknown_ones_follow_the_status() {
        let of = |code, status| classify("PutItem", code, status);
        assert_eq!(of("ThrottlingException", 400), Class::Temporary);
        assert_eq!(of("ValidationException", 400), Class::Bug);
        assert_eq!(of("ResourceNotFoundException", 400), Class::Persistent);
        assert_eq!(of("ReceiptHandleIsInvalid", 400), Class::Lost);
        assert_eq!(of("Strange", 503), Class::Temporary);
        assert_eq!(of("Strange", 418), Class::Persistent);
        assert_eq!(of("InvalidParameterValue", 400), Class::Bug);
        assert_eq!(classify("DeleteMessage", "InvalidParameterValue", 400), Class::Lost);
    }

    #[test]
    fn a_failure_prints_its_operation_code_and_request() {
        let failure = Failure { operation: "PutItem", code: "Busy".into(), detail: None, request: Some("r-1".into()) };
        assert_eq!(failure.to_string(), "PutItem: Busy (request r-1)");
    }
}
