/* libFuzzer: the beginning of a file that a peer sent as a qcow2. */
#include "volume/file/image.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[IMAGE_NAME_MAX + 1];
    memset(name, 1, sizeof name);
    enum image_part part = image_refers(data, size, name);
    size_t n = strlen(name);
    if (n > IMAGE_NAME_MAX || (part == IMAGE_ALONE && n))
        abort();
    for (size_t i = 0; i < n; i++)
        if (name[i] < ' ' || name[i] > '~')
            abort();
    return 0;
}
