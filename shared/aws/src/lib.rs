//! Store on DynamoDB, queues on SQS.
