/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a pod's spec may change while the pod lives: one list for the API
 * server, which refuses everything else, and for the agent, which must be able
 * to take whatever the API server has stored.
 */
#ifndef LIB_PODFIELDS_H
#define LIB_PODFIELDS_H

#include <yyjson.h>

/**
 * podfields_strip() - Leave of a spec only what is fixed.
 * @spec: A pod's spec. What may change is removed from it; of resources, only
 *        cpu and memory are; so is what only says a default. May be NULL.
 *
 * Two specs may follow one another exactly when what is left of them is equal.
 */
void podfields_strip(yyjson_mut_val *spec);

#endif /* LIB_PODFIELDS_H */
