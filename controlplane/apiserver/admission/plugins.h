/* SPDX-License-Identifier: Apache-2.0 */
/* The plug-ins that are built in; chain.c gives their order. */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_PLUGINS_H
#define CONTROLPLANE_APISERVER_ADMISSION_PLUGINS_H

#include "controlplane/apiserver/admission/admission.h"

extern const struct admission_plugin admission_namespace_lifecycle;
extern const struct admission_plugin admission_certificates;
extern const struct admission_plugin admission_priority;
extern const struct admission_plugin admission_tolerations;
extern const struct admission_plugin admission_storage_class;
extern const struct admission_plugin admission_node_selector;
extern const struct admission_plugin admission_daemon_set;
extern const struct admission_plugin admission_not_served;
extern const struct admission_plugin admission_limit_ranger;
extern const struct admission_plugin admission_quota;
extern const struct admission_plugin admission_policy_config;
extern const struct admission_plugin admission_policy;
extern const struct admission_plugin admission_rbac;
extern const struct admission_plugin admission_secrets;
extern const struct admission_plugin admission_service_account;
extern const struct admission_plugin admission_node_restriction;
extern const struct admission_plugin admission_crd;
extern const struct admission_plugin admission_service;
extern const struct admission_plugin admission_pod_security;
extern const struct admission_plugin admission_action;

#endif /* CONTROLPLANE_APISERVER_ADMISSION_PLUGINS_H */
