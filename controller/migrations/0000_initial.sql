CREATE TABLE `addresses` (
	`address` text NOT NULL,
	`owner_kind` text NOT NULL,
	`owner_id` text NOT NULL,
	`network` text NOT NULL,
	PRIMARY KEY(`address`, `owner_kind`, `owner_id`)
);
--> statement-breakpoint
CREATE INDEX `addresses_owner` ON `addresses` (`owner_kind`,`owner_id`);--> statement-breakpoint
CREATE INDEX `addresses_network` ON `addresses` (`network`);--> statement-breakpoint
CREATE TABLE `api_keys` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`secret_hash` text NOT NULL,
	`role` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer,
	`last_used_at` integer,
	`revision` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE `audits` (
	`id` text PRIMARY KEY NOT NULL,
	`at` integer NOT NULL,
	`actor` text NOT NULL,
	`action` text NOT NULL,
	`target` text NOT NULL,
	`before` text,
	`after` text
);
--> statement-breakpoint
CREATE INDEX `audits_at` ON `audits` (`at`);--> statement-breakpoint
CREATE TABLE `conversations` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`client` text NOT NULL,
	`server` text NOT NULL,
	`protocol` integer NOT NULL,
	`server_port` integer NOT NULL,
	`application` text NOT NULL,
	`client_group` text NOT NULL,
	`server_group` text NOT NULL,
	`is_final` integer NOT NULL,
	`action` text NOT NULL,
	`c_action` text,
	`s_action` text,
	`rule` text,
	`why` text NOT NULL,
	`host` text,
	`c_sessions` integer DEFAULT 0 NOT NULL,
	`c_client_packets` integer DEFAULT 0 NOT NULL,
	`c_client_bytes` integer DEFAULT 0 NOT NULL,
	`c_server_packets` integer DEFAULT 0 NOT NULL,
	`c_server_bytes` integer DEFAULT 0 NOT NULL,
	`s_sessions` integer DEFAULT 0 NOT NULL,
	`s_client_packets` integer DEFAULT 0 NOT NULL,
	`s_client_bytes` integer DEFAULT 0 NOT NULL,
	`s_server_packets` integer DEFAULT 0 NOT NULL,
	`s_server_bytes` integer DEFAULT 0 NOT NULL,
	`first_at` integer NOT NULL,
	`last_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `conversations_key` ON `conversations` (`client`,`server`,`protocol`,`server_port`,`application`);--> statement-breakpoint
CREATE INDEX `conversations_server` ON `conversations` (`server`);--> statement-breakpoint
CREATE INDEX `conversations_last` ON `conversations` (`last_at`);--> statement-breakpoint
CREATE TABLE `edges` (
	`client_group` text NOT NULL,
	`server_group` text NOT NULL,
	`protocol` integer NOT NULL,
	`application` text NOT NULL,
	`server_port` integer NOT NULL,
	`action` text NOT NULL,
	`sessions` integer DEFAULT 0 NOT NULL,
	`bytes` integer DEFAULT 0 NOT NULL,
	`first_at` integer NOT NULL,
	`last_at` integer NOT NULL,
	PRIMARY KEY(`client_group`, `server_group`, `protocol`, `application`, `server_port`, `action`)
);
--> statement-breakpoint
CREATE TABLE `enrol_tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`secret_hash` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL,
	`uses_left` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `events` (
	`id` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`name` text NOT NULL,
	`severity` text NOT NULL,
	`at` integer NOT NULL,
	`last_at` integer NOT NULL,
	`count` integer NOT NULL,
	`node_id` text,
	`client` text,
	`server` text,
	`client_group` text,
	`server_group` text,
	`protocol` integer,
	`server_port` integer,
	`application` text,
	`why` text NOT NULL,
	`dedupe_key` text NOT NULL,
	`detail` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `events_dedupe` ON `events` (`dedupe_key`,`at`);--> statement-breakpoint
CREATE INDEX `events_at` ON `events` (`at`);--> statement-breakpoint
CREATE TABLE `groups` (
	`name` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`mode` text,
	`criteria` text,
	`comment` text DEFAULT '' NOT NULL,
	`created_at` integer NOT NULL,
	`empty_since` integer,
	`revision` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE `held_records` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`node_id` text NOT NULL,
	`waits_for` text NOT NULL,
	`record` text NOT NULL,
	`held_at` integer NOT NULL,
	FOREIGN KEY (`node_id`) REFERENCES `nodes`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `held_records_waits` ON `held_records` (`waits_for`);--> statement-breakpoint
CREATE INDEX `held_records_at` ON `held_records` (`held_at`);--> statement-breakpoint
CREATE TABLE `ingest_cursors` (
	`node_id` text NOT NULL,
	`boot` text NOT NULL,
	`seq` integer NOT NULL,
	`lost` integer DEFAULT 0 NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`node_id`, `boot`)
);
--> statement-breakpoint
CREATE TABLE `node_documents` (
	`node_id` text NOT NULL,
	`document` text NOT NULL,
	`epoch` integer NOT NULL,
	`generation` integer NOT NULL,
	`state` text NOT NULL,
	`why` text,
	`at` integer NOT NULL,
	PRIMARY KEY(`node_id`, `document`),
	FOREIGN KEY (`node_id`) REFERENCES `nodes`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `nodes` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`secret_hash` text NOT NULL,
	`facts` text,
	`boot` text,
	`is_up` integer DEFAULT false NOT NULL,
	`enrolled_at` integer NOT NULL,
	`last_seen_at` integer NOT NULL,
	`hello_at` integer,
	`rejected` integer DEFAULT 0 NOT NULL,
	`given_up` integer DEFAULT 0 NOT NULL,
	`workloads_boot` text,
	`workloads_revision` integer,
	`counters` text,
	`revision` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE `outbox` (
	`id` text PRIMARY KEY NOT NULL,
	`webhook_id` text NOT NULL,
	`event_id` text NOT NULL,
	`body` text NOT NULL,
	`state` text NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`next_at` integer NOT NULL,
	`leased_until` integer,
	`last_status` integer,
	`last_error` text,
	`created_at` integer NOT NULL,
	`delivered_at` integer,
	FOREIGN KEY (`webhook_id`) REFERENCES `webhooks`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `outbox_due` ON `outbox` (`next_at`) WHERE state = 'due';--> statement-breakpoint
CREATE INDEX `outbox_webhook` ON `outbox` (`webhook_id`,`state`,`created_at`);--> statement-breakpoint
CREATE TABLE `rules` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`position` integer NOT NULL,
	`from_group` text NOT NULL,
	`to_group` text NOT NULL,
	`ports` text NOT NULL,
	`applications` text NOT NULL,
	`action` text NOT NULL,
	`is_learned` integer NOT NULL,
	`is_enabled` integer DEFAULT true NOT NULL,
	`comment` text DEFAULT '' NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`revision` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `rules_position` ON `rules` (`position`);--> statement-breakpoint
CREATE INDEX `rules_ends` ON `rules` (`from_group`,`to_group`);--> statement-breakpoint
CREATE TABLE `sessions` (
	`id` text PRIMARY KEY NOT NULL,
	`user_id` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL,
	FOREIGN KEY (`user_id`) REFERENCES `users`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `settings` (
	`key` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL,
	`revision` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE `users` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`password_hash` text NOT NULL,
	`role` text NOT NULL,
	`failures` integer DEFAULT 0 NOT NULL,
	`locked_until` integer,
	`created_at` integer NOT NULL,
	`revision` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `users_name_unique` ON `users` (`name`);--> statement-breakpoint
CREATE TABLE `webhooks` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`url` text NOT NULL,
	`secret` text NOT NULL,
	`kinds` text NOT NULL,
	`severity_min` text NOT NULL,
	`is_enabled` integer NOT NULL,
	`disabled_why` text,
	`failing_since` integer,
	`dropped` integer DEFAULT 0 NOT NULL,
	`created_at` integer NOT NULL,
	`revision` integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE `workloads` (
	`id` text PRIMARY KEY NOT NULL,
	`node_id` text NOT NULL,
	`name` text NOT NULL,
	`runtime` text NOT NULL,
	`service` text NOT NULL,
	`domain` text NOT NULL,
	`image` text,
	`labels` text NOT NULL,
	`interfaces` text NOT NULL,
	`group_name` text NOT NULL,
	`started_at` integer NOT NULL,
	`first_seen_at` integer NOT NULL,
	`gone_at` integer,
	`revision` integer DEFAULT 1 NOT NULL,
	FOREIGN KEY (`node_id`) REFERENCES `nodes`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `workloads_node` ON `workloads` (`node_id`);--> statement-breakpoint
CREATE INDEX `workloads_group` ON `workloads` (`group_name`);