#pragma once
#include "test_well_known.pb-c.h"
#include "test_everything.pb-c.h"
/* The addresses of C globals are not stable in Swift: it asks here. */
enum { test_descriptor_count = 29 };
const ProtobufCMessageDescriptor *test_descriptor(unsigned index);
