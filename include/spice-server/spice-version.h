/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SPICE_VERSION_H_
#define SPICE_VERSION_H_

/** The level of this API: major * 0x10000 + minor * 0x100 + micro, here 0.16.0. */
#define SPICE_SERVER_VERSION 0x001000

#endif /* SPICE_VERSION_H_ */
