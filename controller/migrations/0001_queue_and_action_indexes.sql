DROP INDEX `outbox_due`;--> statement-breakpoint
CREATE INDEX `outbox_leased` ON `outbox` (`leased_until`) WHERE leased_until is not null;--> statement-breakpoint
CREATE INDEX `outbox_created` ON `outbox` (`created_at`);--> statement-breakpoint
CREATE INDEX `outbox_due` ON `outbox` (`webhook_id`,`next_at`,`id`) WHERE state = 'due';--> statement-breakpoint
CREATE INDEX `conversations_action` ON `conversations` (`action`,`last_at`) WHERE action <> 'allow';