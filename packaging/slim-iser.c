/* SPDX-License-Identifier: MIT */
/*
 * For a libiscsi whose iSER (over RDMA) is left out, as it needs libraries that a self-contained file cannot have: an
 * iser: name is refused.
 */
struct iscsi_context;
void iscsi_set_error(struct iscsi_context *iscsi, const char *format, ...);

__attribute__((weak)) int iscsi_init_iser_transport(struct iscsi_context *iscsi)
{
    iscsi_set_error(iscsi, "iSER is not built in");
    return -1;
}
