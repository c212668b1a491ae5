/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/confined.h"

bool process_confined;
