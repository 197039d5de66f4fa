# What Forebay needs on AWS: permission to read a bucket, and a queue with the bucket's changes, by which it purges objects
# that are replaced or deleted. Attach the policy to the role or user of the machines that run Forebay.
# If the bucket is encrypted with a KMS key, allow kms:Decrypt on it, too.

variable "bucket" {
  type        = string
  description = "The name of the bucket"
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  bucket_arn = "arn:${data.aws_partition.current.partition}:s3:::${var.bucket}"
}

resource "aws_sqs_queue" "changes" {
  name_prefix = "forebay-changes-"
  # 14 days, the longest. Changes that no node has read by then are lost: purge all.
  message_retention_seconds = 1209600
  # Forebay waits for messages for 20 seconds at a time.
  receive_wait_time_seconds = 20
  sqs_managed_sse_enabled   = true
}

data "aws_iam_policy_document" "changes_from_bucket" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.changes.arn]
    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.bucket_arn]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_sqs_queue_policy" "changes_from_bucket" {
  queue_url = aws_sqs_queue.changes.url
  policy    = data.aws_iam_policy_document.changes_from_bucket.json
}

# It replaces all notifications of the bucket: if there are others, add this queue to them instead.
resource "aws_s3_bucket_notification" "changes" {
  bucket = var.bucket
  queue {
    queue_arn = aws_sqs_queue.changes.arn
    events    = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"]
  }
  depends_on = [aws_sqs_queue_policy.changes_from_bucket]
}

data "aws_iam_policy_document" "forebay" {
  statement {
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket_arn}/*"]
  }
  # With it, S3 answers 404 instead of 403 for objects that do not exist.
  statement {
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]
  }
  statement {
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
    resources = [aws_sqs_queue.changes.arn]
  }
}

resource "aws_iam_policy" "forebay" {
  name_prefix = "forebay-"
  policy      = data.aws_iam_policy_document.forebay.json
}

output "policy_arn" {
  description = "For the role or user of the machines that run Forebay"
  value       = aws_iam_policy.forebay.arn
}

output "queue_url" {
  description = "The url of [[events.queue]] in forebay.toml"
  value       = aws_sqs_queue.changes.url
}
