# What holds data is not destroyed or replaced without a second approver.
package plumbline.stateful

import data.plumbline.plan

# Without settings it asks those who can do everything: a file that is missing must not let a database go.
default approvers := ["role:admin"]

approvers := data.settings.stateful_approvers

stateful := {
	"aws_db_instance", "aws_rds_cluster", "aws_docdb_cluster", "aws_neptune_cluster", "aws_redshift_cluster", "aws_opensearch_domain",
	"aws_elasticsearch_domain", "aws_dynamodb_table", "aws_ebs_volume", "aws_s3_bucket", "aws_elasticache_cluster",
	"aws_elasticache_replication_group", "aws_efs_file_system", "aws_fsx_lustre_file_system", "aws_fsx_windows_file_system",
	"aws_kms_key", "aws_msk_cluster", "aws_secretsmanager_secret",
	"google_sql_database_instance", "google_sql_database", "google_storage_bucket", "google_bigquery_dataset", "google_bigquery_table",
	"google_spanner_instance", "google_spanner_database", "google_compute_disk", "google_filestore_instance", "google_redis_instance",
	"google_kms_crypto_key",
	"azurerm_mssql_database", "azurerm_mssql_server", "azurerm_postgresql_flexible_server", "azurerm_mysql_flexible_server",
	"azurerm_cosmosdb_account", "azurerm_storage_account", "azurerm_storage_container", "azurerm_managed_disk", "azurerm_redis_cache",
	"azurerm_key_vault", "azurerm_key_vault_key",
}

require_approval contains {"address": rc.address, "msg": sprintf("a stateful resource is %s", [fate(rc)]), "from": approvers} if {
	some rc in plan.destroyed
	rc.type in stateful
}

fate(rc) := "replaced: what it holds is lost unless it is copied first" if plan.is_new(rc)

fate(rc) := "destroyed" if not plan.is_new(rc)
