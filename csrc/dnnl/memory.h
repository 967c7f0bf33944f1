/* Where oneDNN's memory comes from: the system, and where that refuses, the calling thread's
 * ballast. Every call into oneDNN that may allocate comes after a tl_ballast_hold. */
#ifndef TL_DNNL_MEMORY_H
#define TL_DNNL_MEMORY_H

/* Call once, before anything else of oneDNN. */
void tl_dnnl_memory_open(void);

#endif
